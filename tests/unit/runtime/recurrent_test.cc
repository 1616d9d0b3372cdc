// Recurrent layers that do not wait for each other are one step, with the answers of the op table.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/runtime/net.h"

using namespace mlt;
using namespace mlt_test_net;

namespace {

struct Layers : Net {
  std::vector<ir::Value*> layer(const char* kind, ir::Value* x, int64_t input, int64_t hidden, int64_t batch, const char* direction, bool sequence) {
    const std::string name = kind;
    const int64_t gates = name == "lstm" ? 4 : name == "gru" ? 3 : 1, both = std::string(direction) == "bidirectional" ? 2 : 1;
    const auto state = [&] { return b.constant(noise({batch, both * hidden}, ++seed)); };
    std::vector<ops::Input> args{{"x", x}, {"initial_h", state()}, {"direction", b.string(direction)}, {"output_sequence", b.boolean(sequence)}};
    if (name == "lstm") args.push_back({"initial_c", state()});
    constexpr std::string_view kNames[2][3] = {{"weight_ih", "weight_hh", "bias"}, {"weight_ih_back", "weight_hh_back", "bias_back"}};
    for (int64_t d = 0; d < both; ++d) {
      args.push_back({kNames[d][0], b.constant(noise({gates * hidden, input}, ++seed, -0.5f, 0.5f))});
      args.push_back({kNames[d][1], b.constant(noise({gates * hidden, hidden}, ++seed, -0.3f, 0.3f))});
      args.push_back({kNames[d][2], b.constant(noise({gates * hidden}, ++seed))});
    }
    return b.ops(kind, args);
  }
  ir::Value* reversed(ir::Value* x) { return b.op("reverse", {{"x", x}, {"axes", b.ints({0})}}); }
};

int64_t count(const std::vector<std::string>& kernels, std::string_view name) {
  return std::count_if(kernels.begin(), kernels.end(), [&](const std::string& k) { return k.find(name) != std::string::npos; });
}

}  // namespace

TEST_CASE("recurrent: both directions side by side, layer after layer") {
  for (const char* kind : {"lstm", "gru", "rnn"})
    for (bool sequence : {true, false}) {
      CAPTURE(kind);
      Layers net;
      ir::Value* x = net.input("x", {11, 2, 7});
      std::vector<ir::Value*> results;
      int64_t inputs = 7;
      for (int depth = 0; depth < 2; ++depth) {
        auto there = net.layer(kind, x, inputs, 19, 2, "forward", true);
        auto back = net.layer(kind, net.reversed(x), inputs, 19, 2, "forward", depth == 0 || sequence);
        x = net.b.op("concat", {{"values", std::vector<ir::Value*>{there[0], net.reversed(back[0])}}, {"axis", net.b.i32(depth == 0 || sequence ? 2 : 0)}, {"interleave", net.b.boolean(false)}});
        inputs = 38;
        results.insert(results.end(), {there[1], back[1], x});
      }
      auto kernels = net.check(results);
      CHECK(count(kernels, "side by side") == 2);
    }
}

TEST_CASE("recurrent: what waits for the other, or has other steps, stays by itself") {
  Layers net;
  ir::Value* x = net.input("x", {5, 1, 6});
  auto first = net.layer("gru", x, 6, 8, 1, "forward", true);
  auto second = net.layer("gru", net.relu(first[0]), 8, 8, 1, "reverse", true);
  auto third = net.layer("gru", net.input("z", {4, 1, 6}), 6, 8, 1, "forward", true);
  auto fourth = net.layer("lstm", x, 6, 8, 1, "bidirectional", true);
  auto fifth = net.layer("rnn", x, 6, 8, 1, "reverse", false);
  auto kernels = net.check({second[0], second[1], third[0], fourth[0], fourth[1], fourth[2], fifth[0], fifth[1]});
  CHECK(count(kernels, "side by side") == 0);
  CHECK(count(kernels, "packed") == 5);
}
