#include "lib/kernels/compact.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "lib/kernels/compact_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {

const CompactTarget* compact_simd();

namespace {

constexpr int64_t kPerException = 2048;  // more of them than one in so many weights take longer than what is saved
constexpr int64_t kMostDepth = int64_t{1} << 24;

struct Head {
  uint8_t pairs[kCompactPairs];
  uint32_t exceptions;
};

unsigned pair_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits >> 24 & 127;
}

// The pairs of exponents that are most frequent in a sample, which is taken in runs along the rows or columns as they lie in
// memory. Where there are fewer: zeros, then neighbours. Nothing when others are obviously too many.
std::optional<CompactPairs> common_pairs(const float* w, int64_t n, int64_t k, int64_t row_stride, int64_t col_stride) {
  constexpr int64_t kRuns = 64, kRun = 64;
  constexpr int kAround = 7;  // pairs on either side of the most frequent one
  std::array<int64_t, 128> count{};
  const bool along_k = col_stride <= row_stride;
  const int64_t lines = along_k ? n : k, line = along_k ? k : n, line_step = along_k ? row_stride : col_stride, step = along_k ? col_stride : row_stride;
  for (int64_t r = 0; r < kRuns; ++r) {
    const int64_t i = lines * r / kRuns, run = std::min(kRun, line), from = (line - run) * (r * 37 % kRuns) / kRuns;
    for (int64_t j = from; j < from + run; ++j) ++count[pair_of(w[i * line_step + j * step])];
  }
  const auto of = [&](int pair) { return count[static_cast<size_t>(pair)]; };
  int middle = 1;
  for (int pair = 1; pair < 128; ++pair)
    if (of(pair) > of(middle)) middle = pair;
  // What may have a code, the most frequent first.
  std::vector<int> order{0};
  for (int away = 0; away <= kAround; ++away) {
    if (middle - away > 0) order.push_back(middle - away);
    if (away > 0 && middle + away < 128) order.push_back(middle + away);
  }
  std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return of(x) > of(y); });
  int64_t others = kRuns * std::min(kRun, line);
  CompactPairs found;
  found.low = static_cast<uint32_t>(middle - kAround);
  for (uint8_t code = 0; code < kCompactPairs; ++code) {
    const int pair = order[code];
    others -= of(pair);
    found.pairs[code] = found.pairs[code + kCompactPairs] = static_cast<uint8_t>(pair);
    if (const uint32_t at = static_cast<uint32_t>(pair) - found.low; at < 15) found.codes[at] = code;
    if (pair == 0) found.codes[15] = code;
  }
  if (others * (kPerException / 8) > kRuns * std::min(kRun, line)) return std::nullopt;
  return found;
}

}  // namespace

// Where things lie: a head, for each panel the number of the first of its exceptions, room for exceptions, the panels.
struct CompactWeights::Layout {
  Layout(int64_t n, int64_t k, const GemmTarget& gemm)
      : panels(n, gemm), depth(balanced_depth(k, kProductDepth)), parts((k + depth - 1) / depth), most(n * k / kPerException) {
    auto groups = [](int64_t rows) { return (rows + kCompactGroup - 1) / kCompactGroup; };
    per_column = (groups(depth) * (parts - 1) + groups(k - depth * (parts - 1))) * kGroupBytes;
    firsts = align_up(sizeof(Head));
    exceptions = align_up(firsts + static_cast<size_t>(panels.count + 1) * sizeof(uint32_t));
    data = align_up(exceptions + static_cast<size_t>(most) * sizeof(CompactException));
    bytes = data + static_cast<size_t>(panels.padded_columns() * per_column);
  }
  static constexpr int64_t kGroupBytes = 4 + 3 * kCompactGroup;  // of a column
  Panels panels;
  int64_t depth, parts, most, per_column;
  size_t firsts, exceptions, data, bytes;
};

// False when there are too many exceptions.
bool CompactWeights::fill(const float* w, int64_t row_stride, int64_t col_stride) const {
  const Layout at(n_, k_, *gemm_);
  auto* bytes = data_.data<uint8_t>();
  const std::optional<CompactPairs> pairs = common_pairs(w, n_, k_, row_stride, col_stride);
  if (!pairs) return false;
  Head head{};
  std::copy_n(pairs->pairs, kCompactPairs, head.pairs);
  std::array<bool, 128> known{};
  for (uint8_t pair : head.pairs) known[pair] = true;
  std::memset(bytes, 0, at.data);

  std::vector<std::vector<CompactException>> found(static_cast<size_t>(at.panels.count));
  std::atomic<int64_t> total{0};
  parallel_for(at.panels.count, grain_for(k_ * at.panels.lanes * at.panels.widest / 4), [&](int64_t begin, int64_t end) {
    constexpr int64_t kPiece = 16 * kCompactGroup, kWidest = 48;
    alignas(64) float rows[kPiece * kWidest];
    for (int64_t p = begin; p < end; ++p) {
      const int64_t n0 = at.panels.first_column(p), width = at.panels.width_in_vectors(p) * at.panels.lanes, cols = std::min(width, n_ - n0);
      uint8_t* to = bytes + at.data + n0 * at.per_column;
      auto& list = found[static_cast<size_t>(p)];
      for (int64_t k0 = 0; k0 < k_; k0 += at.depth) {
        if (total.load(std::memory_order_relaxed) > at.most) return;
        const size_t before = list.size();
        const int64_t k1 = std::min(k_, k0 + at.depth);
        for (int64_t q = k0; q < k1; q += kPiece) {
          const int64_t piece = std::min(kPiece, k1 - q);
          pack_panel(w + n0 * row_stride + q * col_stride, col_stride, row_stride, piece, cols, width, rows);
          for (int64_t g = 0; g < piece; g += kCompactGroup, to += width * Layout::kGroupBytes) {
            const int64_t count = std::min<int64_t>(kCompactGroup, piece - g);
            if (target_->encode(rows + g * width, count, static_cast<int>(width / at.panels.lanes), *pairs, to)) continue;
            for (int64_t i = g * width; i < (g + count) * width; ++i)
              if (i % width < cols && !known[pair_of(rows[i])]) list.push_back({static_cast<uint32_t>(q * width + i), rows[i]});
          }
        }
        total.fetch_add(static_cast<int64_t>(list.size() - before), std::memory_order_relaxed);
      }
    }
  });
  if (total.load() > at.most) return false;
  auto* firsts = reinterpret_cast<uint32_t*>(bytes + at.firsts);
  auto* exceptions = reinterpret_cast<CompactException*>(bytes + at.exceptions);
  for (size_t p = 0; p < found.size(); ++p) {
    firsts[p] = head.exceptions;
    std::copy(found[p].begin(), found[p].end(), exceptions + head.exceptions);
    head.exceptions += static_cast<uint32_t>(found[p].size());
  }
  firsts[found.size()] = head.exceptions;
  std::memcpy(bytes, &head, sizeof head);
  return true;
}

// Whether the exceptions of every panel are places in it, in order: a form may come from a file, and run() goes by them.
bool CompactWeights::sound() const {
  const Layout at(n_, k_, *gemm_);
  const auto* bytes = data_.data<uint8_t>();
  Head head;
  std::memcpy(&head, bytes, sizeof head);
  const auto* firsts = reinterpret_cast<const uint32_t*>(bytes + at.firsts);
  const auto* exceptions = reinterpret_cast<const CompactException*>(bytes + at.exceptions);
  if (head.exceptions > at.most || firsts[0] != 0 || firsts[at.panels.count] != head.exceptions) return false;
  for (int64_t p = 0; p < at.panels.count; ++p) {
    if (firsts[p] > firsts[p + 1] || firsts[p + 1] > head.exceptions) return false;
    int64_t next = 0;
    for (uint32_t i = firsts[p]; i < firsts[p + 1]; next = int64_t{exceptions[i++].at} + 1)
      if (exceptions[i].at < next || exceptions[i].at >= k_ * at.panels.width_in_vectors(p) * at.panels.lanes) return false;
  }
  return true;
}

Result<CompactWeights> CompactWeights::prepare(int64_t n, int64_t k, PackedWeights::Floats w, int64_t row_stride, int64_t col_stride,
                                               const PackedName& name) {
  if (n < 1 || k < 1 || n > (int64_t{1} << 40) / k) return usage_error("matrix product: weights of impossible size");
  CompactWeights p;
  p.n_ = n;
  p.k_ = k;
  p.target_ = use_reference() ? nullptr : compact_simd();
  if (p.target_ == nullptr) return unsupported_error("no kernel for this instruction set");
  if (n * k * 4 <= kNearBytes) return unsupported_error("the weights stay in a near cache");
  if (k > kMostDepth) return unsupported_error("rows of " + std::to_string(k) + " weights");
  p.gemm_ = &gemm_target();
  const std::string form = form_name("compact", {p.gemm_->lanes, p.gemm_->nv, n, k, kProductDepth, row_stride});
  MLT_TRY(prepare_form(p.data_, Layout(n, k, *p.gemm_).bytes, name, form, [&]() -> Status {
    if (!p.fill(w(), row_stride, col_stride)) return unsupported_error("the weights' exponents differ too much");
    return {};
  }));
  if (!p.sound()) return unsupported_error("the form that was kept is damaged");
  return p;
}

void CompactWeights::run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f,
                         const float* residual, int64_t ldr) const noexcept {
  const Layout at(n_, k_, *gemm_);
  const auto* bytes = data_.data<uint8_t>();
  Head head;
  std::memcpy(&head, bytes, sizeof head);
  uint32_t table[16];
  for (uint32_t i = 0; i < 16; ++i) table[i] = (i / kCompactPairs * 128 + head.pairs[i % kCompactPairs]) << 24;
  const auto* firsts = reinterpret_cast<const uint32_t*>(bytes + at.firsts);
  const auto* exceptions = reinterpret_cast<const CompactException*>(bytes + at.exceptions);
  const ElementwiseTarget& ew = elementwise_target();
  for (int64_t i = 0; i < m; ++i)
    parallel_for(at.panels.count, grain_for(k_ * at.panels.widest * at.panels.lanes), [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t n0 = at.panels.first_column(panel);
        CompactPanel p;
        p.data = bytes + at.data + n0 * at.per_column;
        p.nv = static_cast<int>(at.panels.width_in_vectors(panel));
        p.k = k_;
        p.depth = at.depth;
        p.table = table;
        p.next = exceptions + firsts[panel];
        p.end = exceptions + firsts[panel + 1];
        p.x = a + i * lda;
        p.cols = std::min<int64_t>(p.nv * at.panels.lanes, n_ - n0);
        if (bias != nullptr) p.bias = bias + n0;
        if (residual != nullptr) p.residual = residual + i * ldr + n0;
        if (is_cheap(f.op)) p.f = f;
        p.out = c + i * ldc + n0;
        target_->product(p);
        if (!is_cheap(f.op)) ew.unary(f.op, p.out, p.out, p.cols, f.a, f.b);
      }
    });
}

}  // namespace mlt
