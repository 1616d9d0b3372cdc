#include "lib/convert/onnx/strip.h"

#include <doctest/doctest.h>

#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
using namespace mlt::foreign::onnx;
namespace ob = onnx_builder;

namespace {

ob::Message tensor(std::string_view name, size_t bytes, char fill) { return ob::Message().varint(1, bytes / 4).varint(2, 1).text(8, name).text(9, std::string(bytes, fill)); }

}  // namespace

TEST_CASE("strip: large raw data of the graph's initializers stays outside, everything else inside") {
  ob::Message node = ob::Message().text(4, "Add").message(5, ob::Message().text(1, "value").message(5, tensor("inner", 8192, 'n')));
  ob::Message graph = ob::Message().message(5, tensor("a", 8192, 'a')).message(1, node).message(5, tensor("small", 16, 's')).message(5, tensor("b", 12288, 'b'));
  ob::Message model = ob::Message().varint(1, 8).message(7, graph).text(2, "producer");
  auto stripped = strip_weights(model.bytes);
  REQUIRE(stripped);
  REQUIRE(stripped->raw.size() == 3);
  CHECK(as_text(stripped->raw[0]) == std::string(8192, 'a'));
  CHECK(stripped->raw[1].empty());
  CHECK(as_text(stripped->raw[2]) == std::string(12288, 'b'));
  ob::Message kept = ob::Message()
                         .message(5, ob::Message().varint(1, 2048).varint(2, 1).text(8, "a"))
                         .message(1, node)
                         .message(5, tensor("small", 16, 's'))
                         .message(5, ob::Message().varint(1, 3072).varint(2, 1).text(8, "b"));
  CHECK(stripped->message == ob::Message().varint(1, 8).message(7, kept).text(2, "producer").bytes);
}

TEST_CASE("strip: raw data given twice is left to the parser, broken fields are refused") {
  ob::Message twice = tensor("a", 8192, 'a').text(9, std::string(8192, 'z'));
  auto stripped = strip_weights(ob::Message().message(7, ob::Message().message(5, twice)).bytes);
  REQUIRE(stripped);
  CHECK(stripped->raw[0].empty());
  Bytes whole = ob::Message().varint(1, 8).message(7, ob::Message().message(5, tensor("a", 8192, 'a'))).bytes;
  for (size_t cut : {size_t{1}, size_t{3}, size_t{100}, whole.size() - 1}) CHECK_FALSE(strip_weights(ByteSpan(whole).first(cut)));
  CHECK_FALSE(strip_weights(ob::Message().message(7, ob::Message().varint(0, 1)).bytes));
}
