#include "second.hpp"

int main(int, char **argv) { return Second(argv[1]).prediction({{2}, {-1.0f, 3.0f}}).y.data[1] == 3.0f ? 0 : 1; }
