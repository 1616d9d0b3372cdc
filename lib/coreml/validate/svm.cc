#include <fmt/core.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

void check_kernel(const spec::Kernel& kernel, Checker& check) {
  switch (kernel.kernel_case()) {
    case spec::Kernel::kLinearKernel: break;
    case spec::Kernel::kRbfKernel: check.require(kernel.rbfkernel().gamma() >= 0, "gamma of the kernel is negative"); break;
    case spec::Kernel::kPolyKernel:
      check.require(kernel.polykernel().gamma() >= 0, "gamma of the kernel is negative");
      check.require(kernel.polykernel().degree() >= 0, "degree of the kernel is negative");
      break;
    case spec::Kernel::kSigmoidKernel:
      check.require(kernel.sigmoidkernel().gamma() >= 0, "gamma of the kernel is negative");
      break;
    case spec::Kernel::KERNEL_NOT_SET: check.error("kernel is not stated"); break;
  }
}

// Number of support vectors, -1 when there is no list of them.
template <typename Svm>
int check_vectors(const Svm& svm, Checker& check) {
  if (svm.has_densesupportvectors()) {
    const auto& vectors = svm.densesupportvectors().vectors();
    for (const auto& vector : vectors) {
      if (vector.values_size() == vectors[0].values_size()) continue;
      check.error(fmt::format("support vectors differ in length: {} and {}", vectors[0].values_size(), vector.values_size()));
      break;
    }
    return vectors.size();
  }
  if (svm.has_sparsesupportvectors()) {
    for (const auto& vector : svm.sparsesupportvectors().vectors()) {
      for (const auto& node : vector.nodes()) {
        // LIBSVM counts features from 1.
        if (node.index() >= 1) continue;
        check.error(fmt::format("index {} of a sparse support vector is below 1", node.index()));
        return svm.sparsesupportvectors().vectors_size();
      }
    }
    return svm.sparsesupportvectors().vectors_size();
  }
  check.error("has no support vectors");
  return -1;
}

}  // namespace

void check_svm(const Model& model, Checker& check) {
  const Description& description = model.description();
  check.features("input", description.inputs, 0, {FeatureKind::kDouble, FeatureKind::kInt64, FeatureKind::kMultiArray});
  if (model.kind() == ModelKind::kSupportVectorRegressor) {
    const spec::SupportVectorRegressor& svm = model.proto().supportvectorregressor();
    check_regressor_interface(description, check);
    check_kernel(svm.kernel(), check);
    int vectors = check_vectors(svm, check);
    if (vectors >= 0 && svm.coefficients().alpha_size() != vectors)
      check.error(fmt::format("has {} support vectors but {} coefficients", vectors, svm.coefficients().alpha_size()));
    return;
  }
  const spec::SupportVectorClassifier& svm = model.proto().supportvectorclassifier();
  Model::ClassLabels labels = model.class_labels();
  check_classifier_interface(description, labels, false, false, check);
  check_kernel(svm.kernel(), check);
  int vectors = check_vectors(svm, check);
  if (!labels.present || vectors < 0) return;
  auto classes = static_cast<int64_t>(labels.size());
  if (svm.coefficients_size() != classes - 1)
    check.error(fmt::format("{} classes need {} lists of coefficients, found {}", classes, classes - 1, svm.coefficients_size()));
  if (svm.numberofsupportvectorsperclass_size() != classes) {
    check.error(fmt::format("counts of support vectors are given for {} of {} classes",
                            svm.numberofsupportvectorsperclass_size(), classes));
  } else {
    int64_t sum = 0;
    for (int count : svm.numberofsupportvectorsperclass()) {
      if (count < 0) check.error("a class has a negative count of support vectors");
      sum += count;
    }
    if (sum != vectors) check.error(fmt::format("counts of support vectors sum to {}, found {}", sum, vectors));
  }
  for (const spec::Coefficients& list : svm.coefficients()) {
    if (list.alpha_size() == vectors) continue;
    check.error(fmt::format("a list of coefficients has {} entries for {} support vectors", list.alpha_size(), vectors));
    break;
  }
  int64_t pairs = classes * (classes - 1) / 2;
  if (svm.rho_size() != pairs) check.error(fmt::format("{} classes need {} values of rho, found {}", classes, pairs, svm.rho_size()));
  if (svm.proba_size() != svm.probb_size()) check.error("probA and probB differ in length");
  else if (svm.proba_size() != 0 && svm.proba_size() != pairs)
    check.error(fmt::format("{} classes need {} values of probA, found {}", classes, pairs, svm.proba_size()));
}

}  // namespace mlt::coreml
