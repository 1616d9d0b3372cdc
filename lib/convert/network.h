// Neural networks of .mlmodel files as ML programs.
#pragma once
#include <map>
#include <string>

#include "lib/convert/convert.h"
#include "lib/coreml/model.h"
#include "lib/coreml/nn_lift.h"

namespace mlt::foreign {

// Extents of a network's inputs as --input states them; kUsage for anything but plain extents.
Result<std::map<std::string, Dims>> network_dims(const Request& request);

// The network as a program for those extents; kUnsupported with a hint when it fits neither and its description leaves extents
// open (a sequence's length is no part of a feature).
Result<coreml::LiftedNetwork> lifted_network(const coreml::Model& model, const std::map<std::string, Dims>& dims);

// Lifts the network for the given extents of its inputs or the default ones, then does what convert_source does after lowering. Labels of a
// classifier become a classify op; metadata, descriptions of features and images stay. kUnsupported lists layers without
// an ML program op.
Result<Conversion> convert_network(const coreml::Model& model, Request& request);

}  // namespace mlt::foreign
