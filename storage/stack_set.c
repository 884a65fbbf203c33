/*
 * A line of bits is 448 bits and, in the same cache line, how many bits are set in the lines before
 * it: a place costs one miss.
 */

#include "storage/stack_set.h"

#include <assert.h>

#define LINE_WORDS 7
#define LINE_BITS  (LINE_WORDS * 64)

struct stack_set_line {
	uint64_t before;
	uint64_t words[LINE_WORDS];
};
static_assert(sizeof(struct stack_set_line) == 64, "a line is a cache line");

struct stack_set {
	uint32_t lines_count;
	uint32_t count; /* 0 until ranked */
	struct stack_set_line *lines;
};

struct stack_set *stack_set_new(uint32_t ids_count)
{
	AUTO(stack_set) set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	set->lines_count = ids_count / LINE_BITS + 1;
	set->lines = calloc(set->lines_count, sizeof(*set->lines));
	return set->lines ? TAKE(set) : NULL;
}

void stack_set_free(struct stack_set *set)
{
	if (!set)
		return;
	free(set->lines);
	free(set);
}

void stack_set_add(struct stack_set *set, uint32_t id)
{
	uint32_t line = id / LINE_BITS;
	uint32_t bit = id % LINE_BITS;
	assert(line < set->lines_count);
	set->lines[line].words[bit / 64] |= UINT64_C(1) << bit % 64;
}

uint32_t stack_set_rank(struct stack_set *set)
{
	uint64_t before = 0;
	for (uint32_t i = 0; i < set->lines_count; i++) {
		set->lines[i].before = before;
		for (uint32_t word = 0; word < LINE_WORDS; word++)
			before += (uint64_t)__builtin_popcountll(set->lines[i].words[word]);
	}
	set->count = (uint32_t)before;
	return set->count;
}

uint32_t stack_set_place(const struct stack_set *set, uint32_t id)
{
	const struct stack_set_line *line = &set->lines[id / LINE_BITS];
	uint32_t bit = id % LINE_BITS;
	uint64_t place = line->before;
	for (uint32_t word = 0; word < bit / 64; word++)
		place += (uint64_t)__builtin_popcountll(line->words[word]);
	uint64_t below = (UINT64_C(1) << bit % 64) - 1;
	return (uint32_t)(place + (uint64_t)__builtin_popcountll(line->words[bit / 64] & below));
}

void stack_set_list(const struct stack_set *set, uint32_t *ret_ids)
{
	for (uint32_t i = 0; i < set->lines_count; i++) {
		for (uint32_t word = 0; word < LINE_WORDS; word++) {
			uint64_t bits = set->lines[i].words[word];
			for (; bits; bits &= bits - 1)
				*ret_ids++ = i * LINE_BITS + word * 64 +
				             (uint32_t)__builtin_ctzll(bits);
		}
	}
}
