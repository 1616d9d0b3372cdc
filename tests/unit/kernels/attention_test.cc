#include "lib/kernels/attention.h"

#include <limits>

#include "kernels_test.h"
#include "lib/kernels/aligned.h"

using namespace mlt;

namespace {

int64_t at(const Attention& p, const Attention::Operand& o, int64_t head, int64_t row, int64_t col) {
  int64_t offset = row * o.row + col * o.col;
  for (int i = p.batch_rank - 1; i >= 0; --i) {
    offset += head % p.batch[static_cast<size_t>(i)] * o.batch[static_cast<size_t>(i)];
    head /= p.batch[static_cast<size_t>(i)];
  }
  return offset;
}

struct Case {
  Attention p;
  std::vector<float> q, k, v, mask, bias;
  std::vector<uint8_t> flags;
  size_t out_size = 0;
};

std::vector<double> expected(const Case& c) {
  const Attention& p = c.p;
  std::vector<double> out(c.out_size, 7);
  int64_t heads = 1;
  for (int i = 0; i < p.batch_rank; ++i) heads *= p.batch[static_cast<size_t>(i)];
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < p.queries; ++i) {
      std::vector<double> w(static_cast<size_t>(p.keys));
      double most = -INFINITY, sum = 0;
      for (int64_t j = 0; j < p.keys; ++j) {
        double s = 0;
        for (int64_t e = 0; e < p.depth; ++e)
          s += static_cast<double>(c.q[static_cast<size_t>(at(p, p.q, h, i, e))]) * c.k[static_cast<size_t>(at(p, p.k, h, j, e))];
        s *= p.scale;
        const auto m = static_cast<size_t>(at(p, p.mask, h, i, j));
        if (p.mask_kind == Attention::Mask::kFloat) s += c.mask[m];
        if (p.mask_kind == Attention::Mask::kBool && c.flags[m] == 0) s = p.masked;
        if (p.mask_kind == Attention::Mask::kBoolNot && c.flags[m] != 0) s = p.masked;
        if (!c.bias.empty()) s += c.bias[static_cast<size_t>(at(p, p.bias, h, i, j))];
        w[static_cast<size_t>(j)] = s;
        most = s > most || std::isnan(s) ? s : most;
      }
      for (double& x : w) sum += x = std::exp(x - most);
      for (int64_t e = 0; e < p.values; ++e) {
        double y = 0;
        for (int64_t j = 0; j < p.keys; ++j) y += w[static_cast<size_t>(j)] / sum * c.v[static_cast<size_t>(at(p, p.v, h, j, e))];
        out[static_cast<size_t>(at(p, p.out, h, i, e))] = y;
      }
    }
  return out;
}

void check(Case c, double tolerance = 1e-5) {
  const std::vector<double> want = expected(c);
  on_every_target([&] {
    c.p.slots = thread_count();
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(attention_scratch_bytes(c.p)));
    std::vector<float> out(c.out_size, 7);
    const void* mask = c.p.mask_kind == Attention::Mask::kFloat ? static_cast<const void*>(c.mask.data()) : c.flags.data();
    const float* bias = c.bias.empty() ? nullptr : c.bias.data();
    attention(c.p, c.q.data(), c.k.data(), c.v.data(), mask, out.data(), scratch.data(), nullptr, nullptr, bias);
    CHECK(distance(out, want) < tolerance);
    if (!attention_reads_in_place(c.p)) return;
    // The same with the last keys and values in another place, further apart.
    for (int64_t tail : {int64_t{1}, c.p.keys / 2, c.p.keys - 1}) {
      if (tail < 1 || tail >= c.p.keys) continue;
      CAPTURE(tail);
      Attention p = c.p;
      p.tail = tail;
      auto moved = [&](const std::vector<float>& all, const Attention::Operand& from, Attention::Operand& to) {
        to = from;
        to.row = 2 * from.row + 3;
        for (int64_t& stride : to.batch) stride *= 5;
        std::vector<float> some(5 * all.size() + static_cast<size_t>(to.row * tail), NAN);
        std::vector<int64_t> firsts = {0};  // of the batch
        std::vector<int64_t> places = {0};
        for (int i = 0; i < p.batch_rank; ++i) {
          std::vector<int64_t> next, where;
          for (size_t f = 0; f < firsts.size(); ++f)
            for (int64_t b = 0; b < p.batch[static_cast<size_t>(i)]; ++b) {
              next.push_back(firsts[f] + b * from.batch[static_cast<size_t>(i)]);
              where.push_back(places[f] + b * to.batch[static_cast<size_t>(i)]);
            }
          firsts = next, places = where;
        }
        const int64_t columns = &to == &p.k_tail ? p.depth : p.values;
        for (size_t f = 0; f < firsts.size(); ++f)
          for (int64_t j = 0; j < tail; ++j)
            for (int64_t e = 0; e < columns; ++e)
              some[static_cast<size_t>(places[f] + j * to.row + e)] = all[static_cast<size_t>(firsts[f] + (p.keys - tail + j) * from.row + e)];
        return some;
      };
      const std::vector<float> k = moved(c.k, p.k, p.k_tail), v = moved(c.v, p.v, p.v_tail);
      std::fill(out.begin(), out.end(), 7.0f);
      attention(p, c.q.data(), c.k.data(), c.v.data(), mask, out.data(), scratch.data(), k.data(), v.data(), bias);
      CHECK(distance(out, want) < tolerance);
    }
  });
}

// Dense [batch, heads, rows, cols], key heads shared by groups of `group`.
Case dense(int64_t batch, int64_t heads, int64_t group, int64_t queries, int64_t keys, int64_t depth, int64_t values) {
  Case c;
  Attention& p = c.p;
  p.queries = queries, p.keys = keys, p.depth = depth, p.values = values;
  p.batch_rank = 3;
  p.batch = {batch, heads / group, group};
  p.q = {{heads * queries * depth, group * queries * depth, queries * depth}, depth, 1};
  p.k = {{heads / group * keys * depth, keys * depth, 0}, depth, 1};
  p.v = {{heads / group * keys * values, keys * values, 0}, values, 1};
  p.out = {{heads * queries * values, group * queries * values, queries * values}, values, 1};
  p.scale = 0.3f;
  c.q = numbers(static_cast<size_t>(batch * heads * queries * depth), 1, -2, 2);
  c.k = numbers(static_cast<size_t>(batch * heads / group * keys * depth), 2, -2, 2);
  c.v = numbers(static_cast<size_t>(batch * heads / group * keys * values), 3);
  c.out_size = static_cast<size_t>(batch * heads * queries * values);
  return c;
}

}  // namespace

TEST_CASE("attention of odd extents, with and without shared keys") {
  check(dense(1, 1, 1, 1, 1, 1, 1));
  check(dense(2, 3, 1, 5, 7, 3, 2));
  check(dense(1, 2, 1, 33, 65, 17, 19));
  check(dense(1, 4, 2, 9, 130, 64, 64));
  check(dense(1, 4, 4, 3, 131, 64, 80));
  check(dense(1, 1, 1, 41, 1100, 8, 50));
  check(dense(1, 2, 2, 1, 1030, 65, 33));
}

TEST_CASE("attention of many small heads: packed one by one or all before, the same bits") {
  const Case c = dense(3, 4, 1, 49, 50, 32, 33);
  check(c);
  on_every_target([&] {
    std::vector<float> first;
    for (int slots : {1, 3, 12}) {
      Attention p = c.p;
      p.slots = slots;
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(attention_scratch_bytes(p)));
      std::vector<float> out(c.out_size, 7);
      attention(p, c.q.data(), c.k.data(), c.v.data(), nullptr, out.data(), scratch.data());
      if (first.empty()) first = out;
      CHECK(out == first);
    }
  });
}

TEST_CASE("attention with masks") {
  for (int64_t queries : {2, 37})
    for (int64_t keys : {29, 700}) {
      Case c = dense(2, 2, 1, queries, keys, 12, 20);
      c.p.mask_kind = Attention::Mask::kFloat;
      c.mask = numbers(static_cast<size_t>(2 * queries * keys), 4, -3, 3);
      c.p.mask = {{queries * keys, 0, 0}, keys, 1};
      for (size_t i = 0; i < c.mask.size(); i += 3) c.mask[i] = -INFINITY;
      check(c);
      c.p.mask = {{0, keys, 0}, 0, 1};
      check(c);
      c.p.mask = {{0, 0, 0}, 1, 0};  // a number per query changes nothing but infinities
      for (float& m : c.mask) m = std::isinf(m) ? 1 : m;
      check(c);

      c.p.mask_kind = Attention::Mask::kBool;
      c.flags.assign(static_cast<size_t>(4 * queries * keys), 1);
      // Causal, and a query that sees nothing.
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t i = 0; i < queries; ++i)
          for (int64_t j = 0; j < keys; ++j)
            c.flags[static_cast<size_t>((h * queries + i) * keys + j)] = j <= i + h && i != 1;
      c.p.mask = {{2 * queries * keys, queries * keys, 0}, keys, 1};
      check(c);
      c.p.mask = {{0, 0, 0}, keys, 1};
      check(c);
      c.p.mask = {{0, queries * keys, 0}, 0, 1};
      check(c);
      c.p.mask = {{queries * keys, 0, 0}, 1, 0};
      check(c);

      // Numbers beside them, repeated along heads or not; and keys that lose without being out of the question.
      c.p.mask = {{2 * queries * keys, queries * keys, 0}, keys, 1};
      c.bias = numbers(static_cast<size_t>(2 * queries * keys), 5, -2, 2);
      for (Attention::Operand bias : {Attention::Operand{{0, queries * keys, 0}, keys, 1}, {{queries * keys, 0, 0}, keys, 1}, {{0, keys, 0}, 0, 1}, {{0, 0, 0}, 1, 0}}) {
        c.p.bias = bias;
        c.p.mask_kind = Attention::Mask::kBool;
        c.p.masked = -INFINITY;
        check(c);
        c.p.masked = std::numeric_limits<float>::lowest() / 2;
        check(c);
        c.p.mask_kind = Attention::Mask::kBoolNot;
        check(c);
        c.p.mask_kind = Attention::Mask::kNone;
        check(c);
      }
    }
}

TEST_CASE("attention through strides") {
  for (int64_t queries : {1, 4, 38}) {
    const int64_t heads = 3, keys = 45, depth = 16, values = 24;
    Case c = dense(1, heads, 1, queries, keys, depth, values);
    // [rows, heads, columns], as linear layers leave them.
    c.p.q = {{0, depth, 0}, heads * depth, 1};
    c.p.k = {{0, depth, 0}, heads * depth, 1};
    c.p.v = {{0, values, 0}, heads * values, 1};
    c.p.out = {{0, values, 0}, heads * values, 1};
    check(c);
    // Transposed operands.
    c.p.k = {{0, keys * depth, 0}, 1, keys};
    check(c);
    c.p.q = {{0, queries * depth, 0}, 1, queries};
    c.p.v = {{0, keys * values, 0}, 1, keys};
    check(c);
  }
}

TEST_CASE("attention passes NaN and infinities on as softmax does") {
  for (int64_t queries : {3, 20}) {
    Case c = dense(1, 1, 1, queries, 600, 8, 8);
    c.q[0] = NAN;
    c.k[8 * 590] = 1e30f;
    c.v[5] = NAN;
    c.q[8] = 3e-40f;
    check(c);
  }
}
