// A compressed model that is not written yet, so that it can be run and measured first.
#pragma once
#include "lib/compress/activations.h"
#include "lib/compress/compress.h"
#include "lib/container/open.h"

namespace mlt::tune {

struct Candidate {
  OpenedModel model;  // ready to run
  Blob weights;       // its weight file, empty when it has none
  compress::Report report;
  uint64_t bytes = 0;  // of all files it would be written to
};

// original: complete (complete_mil_text). activations: ranges by which to quantize them first, or null.
Result<Candidate> make_candidate(const OpenedModel& original, const compress::Config& config, const compress::ActivationPlan* activations = nullptr);

// The report alone; weights are computed and forgotten.
Result<compress::Report> try_config(const OpenedModel& original, const compress::Config& config);

}  // namespace mlt::tune
