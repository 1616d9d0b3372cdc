// Any bytes as a classic learner: read by the format that they look like (the first byte chooses one when none fits), and
// what comes out is a model that validates.
#include "lib/convert/learners/learner.h"
#include "lib/coreml/classic.h"
#include "lib/coreml/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlt;
  if (size == 0) return 0;
  auto bytes = std::as_bytes(std::span(data, size));
  const foreign::Learner* learner = foreign::find_learner("", bytes);
  if (learner == nullptr) learner = &foreign::learners()[data[0] % foreign::learners().size()];
  auto learned = learner->convert(Blob(Bytes(bytes.begin(), bytes.end())), {});
  if (!learned.ok()) return 0;
  (void)coreml::make_estimator(learned->model).ok();
  if (!learned->model.serialize().ok()) return 0;
  return 0;
}
