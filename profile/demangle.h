#pragma once

/*
 * demangle is the one door to libiberty: C++ (Itanium) and Rust (legacy and v0) names of symbol
 * tables as people wrote them. What is no such name is left alone.
 *
 * Symbol names are hostile input and a short one can unfold into gigabytes: input, depth and output
 * are bounded, and past a bound the mangled name is what there is.
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define DEMANGLE_INPUT_BYTES_MAX  2048
#define DEMANGLE_OUTPUT_BYTES_MAX 4096

/* Appends the readable name and says true, or appends nothing and says false. `mangled` ends with
 * 0. */
bool demangle(const char *mangled, struct buf *to);
