// A profile in the forms that other programs read.
#pragma once
#include <string>
#include <vector>

#include "lib/profile/measure.h"

namespace mlt {

// All operations, one a line.
std::string profile_csv(const Profile& profile);
// Trace events (Chrome, Perfetto): the phases, and one prediction with its operations at their median times.
std::string profile_trace(const Profile& profile, const std::string& model);
// https://www.speedscope.app/file-format-schema.json: the same as a flame graph.
std::string profile_speedscope(const Profile& profile, const std::string& model);
// JUnit: a test case for each rule, or one when there are none.
std::string profile_junit(const Profile& profile, const std::string& model,
                          const std::vector<RuleOutcome>& outcomes);
// Markdown, for a job's summary.
std::string profile_markdown(const Profile& profile, const std::string& model,
                             const std::vector<RuleOutcome>& outcomes);
// A page without references to anything else: phases, every run, kinds, operations, machine.
std::string profile_html(const Profile& profile, const std::string& model,
                         const std::vector<RuleOutcome>& outcomes);

}  // namespace mlt
