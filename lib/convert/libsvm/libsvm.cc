#include "lib/convert/libsvm/libsvm.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

#include "lib/convert/learners/assembly.h"

namespace mlt::foreign::libsvm {
namespace {

// Words of a text, a line at a time.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next() {
    if (rest_.empty()) return false;
    size_t end = rest_.find('\n');
    line_ = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view{} : rest_.substr(end + 1);
    ++number_;
    return true;
  }
  std::string_view word() {
    size_t begin = line_.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) {
      line_ = {};
      return {};
    }
    line_.remove_prefix(begin);
    size_t end = std::min(line_.find_first_of(" \t\r"), line_.size());
    std::string_view out = line_.substr(0, end);
    line_.remove_prefix(end);
    return out;
  }
  size_t number() const { return number_; }

 private:
  std::string_view rest_, line_;
  size_t number_ = 0;
};

double real(std::string_view word, size_t line) {
  double value = 0;
  auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc() || end != word.data() + word.size() || !std::isfinite(value)) damaged(fmt::format("line {}: \"{}\" is no number", line, word.substr(0, 40)));
  return value;
}

int64_t whole(std::string_view word, size_t line) {
  int64_t value = 0;
  auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code != std::errc() || end != word.data() + word.size()) damaged(fmt::format("line {}: \"{}\" is no whole number", line, word.substr(0, 40)));
  return value;
}

struct File {
  std::string type, kernel;
  int64_t classes = 2, total = -1;
  std::vector<int64_t> labels;
  SvmParams params;
  std::vector<std::vector<double>> rows;  // coefficients of each vector
  int64_t width = 0;
};

File read(std::string_view text) {
  File f;
  Lines lines(text);
  bool vectors = false;
  auto reals = [&](std::vector<double>* out) {
    for (std::string_view w = lines.word(); !w.empty(); w = lines.word()) out->push_back(real(w, lines.number()));
  };
  auto wholes = [&](std::vector<int64_t>* out) {
    for (std::string_view w = lines.word(); !w.empty(); w = lines.word()) out->push_back(whole(w, lines.number()));
  };
  while (!vectors && lines.next()) {
    std::string_view key = lines.word();
    if (key.empty()) continue;
    if (key == "svm_type") f.type = lines.word();
    else if (key == "kernel_type") f.kernel = lines.word();
    else if (key == "degree") f.params.kernel.degree = static_cast<int>(std::clamp<int64_t>(whole(lines.word(), lines.number()), -1, 1 << 20));
    else if (key == "gamma") f.params.kernel.gamma = real(lines.word(), lines.number());
    else if (key == "coef0") f.params.kernel.c = real(lines.word(), lines.number());
    else if (key == "nr_class") f.classes = whole(lines.word(), lines.number());
    else if (key == "total_sv") f.total = whole(lines.word(), lines.number());
    else if (key == "rho") reals(&f.params.rho);
    else if (key == "label") wholes(&f.labels);
    else if (key == "probA") reals(&f.params.prob_a);
    else if (key == "probB") reals(&f.params.prob_b);
    else if (key == "nr_sv") wholes(&f.params.vectors_per_class);
    else if (key == "prob_density_marks") continue;  // one-class probabilities: not expressible, not asked for
    else if (key == "SV") vectors = true;
    else damaged(fmt::format("line {}: unknown key \"{}\"", lines.number(), key.substr(0, 40)));
  }
  if (!vectors) damaged("no support vectors");
  if (f.classes < 1 || f.classes > 65536) damaged("the number of classes is damaged");
  size_t per_vector = f.type == "c_svc" || f.type == "nu_svc" ? static_cast<size_t>(f.classes - 1) : 1;
  f.params.coefficients.resize(per_vector);
  f.params.vectors.sparse = true;
  while (lines.next()) {
    std::string_view w = lines.word();
    if (w.empty()) continue;
    for (size_t i = 0; i < per_vector; ++i, w = lines.word()) f.params.coefficients[i].push_back(real(w, lines.number()));
    auto& nodes = f.params.vectors.nodes.emplace_back();
    for (; !w.empty(); w = lines.word()) {
      size_t colon = w.find(':');
      if (colon == std::string_view::npos) damaged(fmt::format("line {}: \"{}\" is no index:value", lines.number(), w.substr(0, 40)));
      int64_t index = whole(w.substr(0, colon), lines.number());
      double value = real(w.substr(colon + 1), lines.number());
      if (f.kernel == "precomputed") continue;
      if (index < 1 || index > (1 << 24) || (!nodes.empty() && index <= nodes.back().first)) damaged(fmt::format("line {}: indices do not ascend from 1", lines.number()));
      nodes.emplace_back(static_cast<int32_t>(index), value);
      f.width = std::max(f.width, index);
    }
  }
  return f;
}

}  // namespace

bool looks_like_libsvm(ByteSpan bytes) { return as_text(bytes).starts_with("svm_type "); }

Result<LearnedModel> convert_libsvm(const Blob& bytes, const LearnerOptions& options) {
  return run_learner([&] {
    File f = read(bytes.text());
    SvmParams& p = f.params;
    if (f.kernel == "linear") p.kernel.kind = SvmKernel::Kind::kLinear;
    else if (f.kernel == "polynomial") p.kernel.kind = SvmKernel::Kind::kPoly;
    else if (f.kernel == "rbf") p.kernel.kind = SvmKernel::Kind::kRbf;
    else if (f.kernel == "sigmoid") p.kernel.kind = SvmKernel::Kind::kSigmoid;
    else if (f.kernel == "precomputed") refuse("libsvm kernel precomputed: the kernel's values are not in the file");
    else damaged(fmt::format("unknown kernel \"{}\"", f.kernel.substr(0, 40)));
    size_t count = p.vectors.size();
    if (count == 0 || (f.total >= 0 && static_cast<uint64_t>(f.total) != count)) damaged(fmt::format("{} support vectors instead of {}", count, f.total));
    if (p.kernel.kind == SvmKernel::Kind::kPoly && p.kernel.degree < 0) damaged("a negative degree");
    if (p.kernel.kind != SvmKernel::Kind::kLinear && p.kernel.gamma < 0) refuse("a negative gamma");
    int64_t width = std::max({f.width, int64_t{1}, static_cast<int64_t>(options.feature_names.size())});
    Assembly a(options);
    Vec x = a.numbers(width, {});
    auto one_rho = [&] {
      if (p.rho.size() != 1) damaged("a regression needs one rho");
    };
    if (f.type == "c_svc" || f.type == "nu_svc") {
      auto n = static_cast<size_t>(f.classes);
      size_t pairs = n * (n - 1) / 2;
      uint64_t total = 0;
      for (int64_t c : p.vectors_per_class) {
        if (c < 0) damaged("a negative number of support vectors");
        total += static_cast<uint64_t>(c);
      }
      if (n < 2 || f.labels.size() != n || p.rho.size() != pairs || p.vectors_per_class.size() != n || total != count ||
          p.prob_a.size() != p.prob_b.size() || (!p.prob_a.empty() && p.prob_a.size() != pairs))
        damaged("numbers of classes, labels, support vectors and constants do not fit together");
      mlt::Labels labels;
      labels.integers = true;
      labels.ints = f.labels;
      a.svm_classifier(x, p, labels, false);
    } else if (f.type == "epsilon_svr" || f.type == "nu_svr") {
      one_rho();
      p.prob_a.clear();  // of the noise, not of the answer
      a.svm_regression(x, p);
    } else if (f.type == "one_class") {
      one_rho();
      p.prob_a.clear();
      TreeEnsembleParams sign;
      sign.outputs = 2;
      add_steps(sign, 0, 0, {0.0}, {{{0, 1.0}}, {{1, 1.0}}}, {{0, 1.0}}, true);
      mlt::Labels labels;
      labels.integers = true;
      labels.ints = {-1, 1};
      a.tree_classifier(a.svm(x, p), sign, labels, false);
    } else {
      damaged(fmt::format("unknown svm_type \"{}\"", f.type.substr(0, 40)));
    }
    return a.finish("LIBSVM " + f.type + ", kernel " + f.kernel);
  });
}

void add_coverage(std::vector<LearnerCoverage>& list) {
  for (std::string_view type : {"c_svc", "nu_svc", "epsilon_svr", "nu_svr"}) list.push_back({"libsvm", type, "not with a precomputed kernel"});
  list.push_back({"libsvm", "one_class", "labels only, no probabilities"});
}

}  // namespace mlt::foreign::libsvm
