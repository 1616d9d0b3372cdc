// The compiler: a model becomes the files of an .mlmodelc directory, as Apple's compiler writes them (reference
// mlmodelc.md). ML programs are printed as they are, without any optimization; classic models are a header and their
// message; pipelines are directories of their stages. Neural networks are written in the part of their compiled form that
// is known (lib/coreml/espresso.h); what lies beyond is refused (kUnsupported, every layer of every stage listed).
#pragma once
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/container/file_tree.h"
#include "lib/container/open.h"
#include "lib/ir/graph.h"

namespace mlt {

struct CompileOptions {
  // Values of buildInfo's "coremlc-component-MIL" and "coremlc-version": whose work the text is. The one line of
  // model.mil that differs from what Apple's compiler writes.
  std::string component_version = "mltools", compiler_version = "mltools";
  // Networks with layers whose compiled form is not known are stored as they are (kKeptSource), for our own reader alone.
  bool keep_source = false;
};

struct CompiledFiles {
  FileTree tree;                             // weights are the source's own bytes
  std::vector<std::string> inputs;           // files on disk that were read
  std::vector<std::string> kept_sources;     // why each network was stored as it is, with its stage
  std::vector<std::string> missing_weights;  // named by the program, but not there: the result lacks them too
};
Result<CompiledFiles> compile_model(const OpenedModel& source, const CompileOptions& options);

// Files on disk that a model was opened from, weights aside: its manifest and model file, its archive, or itself.
std::vector<std::string> source_files(const OpenedModel& source);

// "OUT: IN IN\n" in Makefile syntax; blanks, '#' and '$' in names are escaped.
std::string depfile_text(const std::string& target, const std::vector<std::string>& inputs);

// The metadata.json of any model, of a kind that cannot be compiled too.
Result<std::string> compiled_metadata_json(const OpenedModel& source);

}  // namespace mlt
