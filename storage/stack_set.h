#pragma once

/*
 * stack_set is the set of stacks (node ids) of a block, in ascending order: the block's dictionary.
 * Columns of a block speak of places in it, which are dense and small.
 *
 * A bit per id and a count per 384 bits: adding is setting a bit, a place is a count of bits. That
 * is what makes sealing cheap: no hashing and no sorting of rows. Memory: 1/6 byte per id up to the
 * largest.
 *
 *	stack_set_add(...) ...; stack_set_rank(...); stack_set_place(...) ...
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"

struct stack_set;

/* Ids below `ids_count`. NULL when out of memory. */
struct stack_set *stack_set_new(uint32_t ids_count);
void stack_set_free(struct stack_set *set);
DEFINE_AUTO(stack_set);

void stack_set_add(struct stack_set *set, uint32_t id);

/* Was it added? At any time. */
bool stack_set_has(const struct stack_set *set, uint32_t id);

/* After the last add, before the first place. Returns how many there are. */
uint32_t stack_set_rank(struct stack_set *set);

/* Of an id that is in the set. */
uint32_t stack_set_place(const struct stack_set *set, uint32_t id);

/* All of them, ascending; there is room for what stack_set_rank() said. */
void stack_set_list(const struct stack_set *set, uint32_t *ret_ids);
