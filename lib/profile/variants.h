// Measurements around the main one: other threads, batches and shapes; cold starts; several models side by
// side; what the machine can do at most.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/profile/measure.h"

namespace mlt {

// "threads=1,2,4", "batch=1,8", "x=1x3x224x224,1x3x320x320"
struct SweepAxis {
  std::string name;                // "threads", "batch", or an input
  std::vector<std::string> texts;  // as written
  std::vector<Dims> values;        // one number for threads and batch
};
Result<SweepAxis> parse_sweep(const std::string& text);

// Every value of every axis, one after the other, the other axes as in `inputs`. Batch sets the first axis of
// all arrays of flexible shape; a value repeats where its own first axis is 1, and is zeros otherwise. Models
// that predict rows (trees, linear models) take any batch. What the model does not take is a point with a
// reason.
Result<std::vector<SweepPoint>> sweep(const OpenedModel& model, const PredictOptions& options,
                                      const InputsOf& inputs_of, const std::vector<SweepAxis>& axes,
                                      const MeasureOptions& measure);

// Starts `runs` times from the file: opened, loaded, one prediction. `evict` asks the system to forget the
// file first; it says whether that was possible.
Result<ColdStart> measure_cold(const std::function<Result<OpenedModel>()>& open,
                               const std::function<bool()>& evict, const PredictOptions& options,
                               const InputsOf& inputs_of, int runs);
// The page cache of a file, or of all files below a directory.
bool evict_page_cache(const std::string& path);

// All models in turn, so that what disturbs one disturbs the others: run 1 of each, run 2 of each ... Values
// are given to the models that have an input of that name.
Result<std::vector<Contender>> compare_models(const std::vector<const OpenedModel*>& models,
                                              const PredictOptions& options, const InputsOf& inputs_of,
                                              const MeasureOptions& measure);

// Products of matrices and sums over memory, as fast as our own kernels do them on all threads: about 0.2 s.
Peaks measure_peaks();

// The tables of a profile for people. `top`: operations, the slowest first; `explain`: all in order, with the
// kernels that refused.
std::string profile_text(const Profile& profile, size_t top, bool explain);

}  // namespace mlt
