#pragma once

/*
 * canon() gives the name by which a function of one build is found again in another: without what
 * compilers, linkers and JITs append, count up or hash. The rules are one table in canon.c; their
 * version is printed, because a diff across two sets of rules cannot be repeated.
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define CANON_VERSION 1

/* Appends the canonical form of a name; true when it is another one than `name`. Never empty unless
 * `name` is. */
bool canon(const char *name, size_t count, struct buf *to);
