// A model with state and an array of float16, through its generated class.
#include <iostream>

#include "counter.hpp"

int main(int, char **argv) {
  counter model(argv[1]);
  mltools::State state = model.make_state();
  for (int i = 0; i < 3; ++i) {
    counterOutput out = model.prediction({{{2}, {1.5f, -2.0f}}}, state);
    std::cout << out.total.data[0] << ' ' << out.total.data[1] << '\n';
  }
  std::cout << state.read("sum").data[0] << '\n';
}
