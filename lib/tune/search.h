// The best settings for a size, weight by weight.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/tune/candidate.h"
#include "lib/tune/fidelity.h"

namespace mlt::tune {

struct SearchOptions {
  std::optional<uint64_t> target_bytes;  // of the model's message and weight file
  std::optional<double> max_drop;        // Fidelity::drop; without target_bytes the smallest model within it is sought
  compress::Config base;                 // selection and target; rules stay in force, `recipe` is not used
  std::function<void(const std::string&)> progress = {};
};

struct ParetoPoint {
  uint64_t bytes = 0;
  double predicted = 0;              // sum of what the weights are expected to add to the squared relative error
  std::optional<Fidelity> measured;  // with a reference
  bool chosen = false;
};

struct WeightChoice {
  std::string name, form;    // as reported
  double sensitivity = 0;    // squared relative error of the outputs when only this weight has a palette of four bits
  uint64_t bytes = 0;
};

struct SearchResult {
  compress::Config config;
  Candidate candidate;
  std::optional<Fidelity> fidelity;  // of the candidate, on all records
  std::vector<ParetoPoint> points;   // by size, the largest first
  std::vector<WeightChoice> weights;
  std::optional<Error> refused;      // kNegative: nothing is small enough, or good enough; the rest is the nearest
};

// How it works: one compression of everything for each of a dozen settings gives every weight's size and squared error; one
// run for each weight (the 64 largest; the others are taken as their average) gives its sensitivity on the first 16
// records; then steps of the least expected error for the bytes they save lead from the original down to the target.
// reference: null when there is no data; sensitivities are then all alike and only squared errors of weights count.
Result<SearchResult> search(const OpenedModel& original, const Reference* reference, const SearchOptions& options);

std::string to_json(const SearchResult& result, const SearchOptions& options);
std::vector<std::string> to_text(const SearchResult& result);

}  // namespace mlt::tune
