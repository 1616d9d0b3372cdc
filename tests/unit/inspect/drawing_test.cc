#include "lib/inspect/drawing.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <random>
#include <regex>
#include <set>

#include "tests/unit/corpus.h"
#include "tests/unit/inspect/subject.h"

using namespace mlt;
using namespace mlt::inspect;

namespace {

// n operations, each with one or two of the earlier ones as inputs.
Subject tangle(int n) {
  std::mt19937 random(7);
  std::string body;
  for (int i = 1; i <= n; ++i) {
    auto earlier = [&] { return "v" + std::to_string(std::max(0, i - 1 - static_cast<int>(random() % 5))); };
    body += "tensor<fp32, [4]> v" + std::to_string(i) + " = add(x = " + earlier() + ", y = " + earlier() +
            ")[name = string(\"stage_" + std::to_string(i / 30) + "_add_" + std::to_string(i) + "\")];\n";
  }
  return subject_of("program(1.3) { func main<ios17>(tensor<fp32, [4]> v0) {\n" + body + "} -> (v" +
                    std::to_string(n) + "); }");
}

struct Box {
  double x, y, width, height;
};
std::vector<Box> boxes(const std::string& svg) {
  std::vector<Box> out;
  std::regex rect(
      "<rect x=\"([-0-9.]+)\" y=\"([-0-9.]+)\" width=\"([0-9.]+)\" height=\"([0-9.]+)\" rx=\"[0-9]+\" "
      "fill=\"#[0-9a-f]+\" stroke=\"#6b7683\"/><text");
  for (std::sregex_iterator it(svg.begin(), svg.end(), rect), end; it != end; ++it)
    out.push_back({std::stod((*it)[1]), std::stod((*it)[2]), std::stod((*it)[3]), std::stod((*it)[4])});
  return out;
}

}  // namespace

TEST_CASE("large graphs are joined, without cycles and without losing an operation") {
  Subject subject = tangle(600);
  std::vector<Unit> units = units_of(subject, true);
  Report report = examine(subject);
  for (size_t most : {size_t{0}, size_t{10}, size_t{50}, size_t{150}}) {
    Drawing d = drawings_of(units, report, most)[0];
    size_t operations = 0, members = 0;
    for (const DrawnNode& node : d.nodes) {
      operations += !node.members.empty();
      members += node.members.size();
    }
    CHECK(members == 600);
    if (most == 0)
      CHECK(operations == 600);
    else
      CHECK(operations <= most);
    CHECK(operations >= (most == 0 ? 600 : most / 3));
    for (const DrawnEdge& e : d.edges)
      CHECK(e.from < e.to);  // an order in which all edges go forward: no cycle
  }
}

TEST_CASE("boxes do not overlap, and consumers lie below producers") {
  Subject subject = tangle(300);
  for (size_t most : {size_t{40}, size_t{0}}) {
    auto drawings = drawings_of(units_of(subject, true), examine(subject), most);
    std::string svg = svg_text(drawings, "m");
    std::vector<Box> list = boxes(svg);
    REQUIRE(list.size() == drawings[0].nodes.size());
    for (size_t i = 0; i < list.size(); ++i)
      for (size_t j = i + 1; j < list.size(); ++j) {
        bool apart = list[i].x + list[i].width <= list[j].x || list[j].x + list[j].width <= list[i].x ||
                     list[i].y + list[i].height <= list[j].y || list[j].y + list[j].height <= list[i].y;
        REQUIRE(apart);
      }
    for (const DrawnEdge& e : drawings[0].edges)
      CHECK(list[static_cast<size_t>(e.from)].y + 46 < list[static_cast<size_t>(e.to)].y);
    CHECK(svg == svg_text(drawings, "m"));
  }
}

TEST_CASE("names that say nothing: cuts where one value is alive") {
  // Blocks of ten operations with a value that skips eight of them.
  std::string body;
  for (int i = 0; i < 400; ++i)
    body += fmt::format("tensor<fp32, [4]> v{} = add(x = v{}, y = v{})[name = string(\"x{}\")];\n", i + 1, i, i % 10 == 9 ? i - 8 : i, i * 7919 % 400);
  Subject subject = subject_of("program(1.3) { func main<ios17>(tensor<fp32, [4]> v0) {\n" + body + "} -> (v400); }");
  Drawing d = drawings_of(units_of(subject, true), examine(subject), 20)[0];
  size_t groups = 0;
  for (const DrawnNode& node : d.nodes) {
    if (node.shape != DrawnNode::Shape::kGroup) continue;
    ++groups;
    CHECK(node.members.size() % 10 == 0);
    CHECK(node.title == fmt::format("{} to {}", node.members.front(), node.members.back()));
  }
  CHECK(groups >= 10);
  CHECK(d.edges.size() == groups + 1);
}

TEST_CASE("a value with many far users, and a place that collects, are named beside the boxes") {
  std::string body = "int32 cax = const()[name = string(\"cax\"), val = int32(0)];\nbool cil = const()[name = string(\"cil\"), val = bool(false)];\ntensor<fp32, [4]> mask = relu(x = v0)[name = string(\"mask\")];\n", all;
  for (int i = 0; i < 30; ++i) {
    body += fmt::format("tensor<fp32, [4]> v{} = add(x = v{}, y = {})[name = string(\"v{}\")];\n", i + 1, i, i % 3 == 0 ? "mask" : fmt::format("v{}", i), i + 1);
    if (i % 4 == 0) all += fmt::format("{}v{}", all.empty() ? "" : ", ", i + 1);
  }
  body += fmt::format("tensor<fp32, [36]> y = concat(axis = cax, interleave = cil, values = ({}, v30))[name = string(\"y\")];\n", all);
  Subject subject = subject_of("program(1.3) { func main<ios17>(tensor<fp32, [4]> v0) {\n" + body + "} -> (y); }");
  auto drawings = drawings_of(units_of(subject, true), examine(subject), 0);
  size_t users = 0, collected = 0;
  for (const DrawnNode& node : drawings[0].nodes) {
    users += std::count(node.also.begin(), node.also.end(), "mask");
    if (node.title == "concat") collected = node.also.size();
  }
  CHECK(users == 8);      // of ten: the first two are near
  CHECK(collected == 7);  // of nine: the last two are near
  CHECK(svg_text(drawings, "m").find("and 5 more") != std::string::npos);
  CHECK(dot_text(drawings, "m").find("also from mask") != std::string::npos);
}

TEST_CASE("text for XML") {
  CHECK(escaped("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(escaped("\x01\x1b[0m") == "\xef\xbf\xbd\xef\xbf\xbd[0m");
  CHECK(escaped("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80") == "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80");
  for (const char* broken : {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80"})
    CHECK(escaped(broken).find("\xef\xbf\xbd") == 0);
  CHECK(escaped("\xef\xbf\xbf") != "\xef\xbf\xbf");
}

TEST_CASE("every model of the corpus can be drawn") {
  for (const char* folder : {"mlmodel", "mlpackage", "mlmodelc"})
    for (const std::string& path : test::corpus_files(folder, std::string(".") + folder)) {
      if (std::filesystem::is_regular_file(path) && std::filesystem::file_size(path) > 2000000) continue;
      auto opened = open_model(path);
      if (!opened.ok()) continue;
      auto subject = prepare(std::move(*opened));
      if (!subject.ok()) continue;
      auto drawings = drawings_of(units_of(*subject, true), examine(*subject), 150);
      std::string svg = svg_text(drawings, "m");
      size_t nodes = 0;
      for (const Drawing& d : drawings) nodes += d.nodes.size();
      CHECK_MESSAGE(boxes(svg).size() == nodes, path);
      for (const char* broken : {"\"nan", " nan", "\"-nan", " inf", "\"inf"})
        CHECK_MESSAGE(
            std::regex_search(svg, std::regex(std::string("(x|y|d|width)=[^>]*") + broken)) == false, path);
    }
}
