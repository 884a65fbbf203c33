/*
 * A line of bits is 384 bits and, in the same cache line, how many bits are set in the lines before
 * it, and in the words of it before each of its words: a place costs one miss and the counting of
 * one word.
 *
 * Bits are counted by arithmetic: without knowing the machine the compiler would call a function
 * for it, in the loop that sealing is made of.
 */

#include "storage/stack_set.h"

#include <assert.h>

#define LINE_WORDS 6
#define LINE_BITS  (LINE_WORDS * 64)

struct stack_set_line {
	uint64_t words[LINE_WORDS];
	uint32_t before;                   /* in all lines before */
	uint16_t words_before[LINE_WORDS]; /* in the line */
};
static_assert(sizeof(struct stack_set_line) == 64, "a line is a cache line");

struct stack_set {
	uint32_t lines_count;
	uint32_t count; /* 0 until ranked */
	struct stack_set_line *lines;
};

static uint32_t stack_set_bits(uint64_t word)
{
	word -= (word >> 1) & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) + ((word >> 2) & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
}

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

bool stack_set_has(const struct stack_set *set, uint32_t id)
{
	uint32_t line = id / LINE_BITS;
	uint32_t bit = id % LINE_BITS;
	assert(line < set->lines_count);
	return set->lines[line].words[bit / 64] >> bit % 64 & 1;
}

uint32_t stack_set_rank(struct stack_set *set)
{
	uint32_t before = 0;
	for (uint32_t i = 0; i < set->lines_count; i++) {
		struct stack_set_line *line = &set->lines[i];
		uint32_t in_line = 0;
		line->before = before;
		for (uint32_t word = 0; word < LINE_WORDS; word++) {
			line->words_before[word] = (uint16_t)in_line;
			in_line += stack_set_bits(line->words[word]);
		}
		before += in_line;
	}
	set->count = before;
	return set->count;
}

uint32_t stack_set_place(const struct stack_set *set, uint32_t id)
{
	const struct stack_set_line *line = &set->lines[id / LINE_BITS];
	uint32_t bit = id % LINE_BITS;
	uint64_t below = (UINT64_C(1) << bit % 64) - 1;
	return line->before + line->words_before[bit / 64] +
	       stack_set_bits(line->words[bit / 64] & below);
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
