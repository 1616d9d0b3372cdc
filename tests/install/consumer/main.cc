#include <iostream>

#include "model.hpp"

int main(int, char **argv) {
  model m(argv[1]);
  modelOutput out = m.prediction({{2}, {-1.0f, 3.0f}});
  std::cout << out.y.data[0] << ' ' << out.y.data[1] << '\n';
}
