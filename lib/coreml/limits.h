// Limits that readers, validation and the compiler share.
#pragma once

namespace mlt::coreml {

// Pipelines in pipelines deeper than this are refused, wherever a model comes from.
inline constexpr int kMaxPipelineNesting = 16;

}  // namespace mlt::coreml
