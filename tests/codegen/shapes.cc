// What a program does with a generated class: pictures in, labels out. Arguments: a model, pictures named by their label.
#include <iostream>

#include "shapes.hpp"

int main(int argc, char **argv) try {
  shapes model(argv[1]);
  int right = 0;
  for (int i = 2; i < argc; ++i) {
    shapesOutput out = model.prediction(mltools::Image::file(argv[i]));
    std::string name = argv[i], label = name.substr(name.rfind('/') + 1);
    label.resize(label.find('-'));
    double best = 0;
    for (const auto &entry : out.probabilities) best = std::max(best, entry.second);
    if (out.probabilities.at(out.classLabel) != best) std::cout << name << ": the label is not the most likely one\n";
    right += out.classLabel == label;
  }
  std::cout << right << " of " << argc - 2 << " right, " << shapes::class_labels().size() << " labels\n";
  try {
    shapes missing("nothing.mlpackage");
  } catch (const mltools::Error &error) {
    std::cout << "status " << error.status() << '\n';
  }
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
