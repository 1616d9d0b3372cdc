// What an updatable model can be trained in: its layers, losses, optimizer and parameters. Training itself is not done
// here.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/coreml/model.h"

namespace mlt::coreml {

// A number that an app may set before training; whole numbers and truth values as doubles (exact up to 2^53).
struct TrainingParameter {
  enum class Kind { kDouble, kInt64, kBool };
  std::string name;  // "learningRate", "miniBatchSize", "numberOfNeighbors": the message's names
  Kind kind = Kind::kDouble;
  double preset = 0;
  std::optional<std::pair<double, double>> range;  // allowed, ends included; without range and set: anything
  std::vector<double> allowed;                     // the only values, when not empty
};
struct TrainingLoss {
  std::string name, kind;    // "categoricalCrossEntropy", "meanSquaredError"
  std::string input, target;  // the blob that is compared, and the training input it is compared with
};
struct Training {
  std::vector<std::string> layers;  // of networks: those whose weights change
  std::vector<TrainingLoss> losses;
  std::string optimizer;  // "sgd", "adam"; empty: none
  std::vector<TrainingParameter> parameters;
  int64_t samples = 0, dimensions = 0;  // of k-nearest-neighbour models: what is stored, to which samples are added
};

// Of one model; nullopt when it is not marked as updatable, or is a pipeline (its stages have their own).
std::optional<Training> training_of(const Model& model);

}  // namespace mlt::coreml
