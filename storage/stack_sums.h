#pragma once

/*
 * stack_sums adds values by place in a block's dictionary.
 *
 * Adding is the inner loop of every query, and is bound by how much of the sums fits the caches: so
 * they are 32 bits wide as long as what was added in total stays below 2^32, and move into 64 bits
 * before it would not. One thread owns them.
 */

#include <stdint.h>

#include "core/auto.h"

struct stack_sums;

/* Zeroes. NULL when out of memory. */
struct stack_sums *stack_sums_new(uint32_t count);
void stack_sums_free(struct stack_sums *sums);
DEFINE_AUTO(stack_sums);
void stack_sums_reset(struct stack_sums *sums);

uint32_t stack_sums_count(const struct stack_sums *sums);

/* Sums to add at most `total` into, in total, before the next call; that is below 2^32. */
uint32_t *stack_sums_narrow(struct stack_sums *sums, uint64_t total);

/* -EOVERFLOW: the sum is past 64 bits, and stays as it was. */
int stack_sums_add(struct stack_sums *sums, uint32_t place, uint64_t value);

/* All of them, as they are now; borrowed until the next add. -EOVERFLOW. */
int stack_sums_get(struct stack_sums *sums, const uint64_t **ret_values);
