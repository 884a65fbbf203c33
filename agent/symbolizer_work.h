#pragma once

/* What the tests of symbolizer need from it: another piece of work for the child to do. */

#include "core/buf.h"

/* Sanitizers keep terabytes of address space, and make calls of their own when a process ends. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SYMBOLIZER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SYMBOLIZER_SANITIZED 1
#endif
#endif
#ifndef SYMBOLIZER_SANITIZED
#define SYMBOLIZER_SANITIZED 0
#endif

typedef int symbolizer_work(const void *image, size_t bytes, struct buf *to);

/* Of helpers that start from now on. NULL is elf_symbols_extract(). */
void symbolizer_set_work(symbolizer_work *work);
