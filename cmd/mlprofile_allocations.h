// Counts what this program allocates, so that a profile can tell what a prediction takes.
#pragma once
#include <cstdint>

// So far, by all threads; null where the C library's allocator cannot be stood in for.
extern uint64_t (*const allocation_count)();
