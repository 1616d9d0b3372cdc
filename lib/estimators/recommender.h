// Item-to-item recommendations (source: ItemSimilarityRecommender.proto).
#pragma once
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct RecommenderParams {
  struct Item {
    uint64_t id = 0;
    std::vector<std::pair<uint64_t, double>> similar;
    double adjustment = 0;
  };
  std::vector<Item> items;
  Labels ids;  // empty: items are 0, 1, ...
  std::string items_input, count_input, restriction_input, exclusion_input;  // all but the first may be empty
  std::string list_output, score_output;                                      // one may be empty
};

// score_k = sum over the given items i of similarity(k, i) * (score_i - adjustment_k). Best first, the lower index of
// equals. Given items are left out unless an exclusion input says which to leave out instead.
Result<std::unique_ptr<Estimator>> make_recommender(Interface interface, RecommenderParams params);

}  // namespace mlt
