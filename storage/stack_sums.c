/*
 * What is narrow is moved into wide when it could grow past 32 bits, which is seldom: one pass per
 * four billion samples. A wide sum that would wrap is noticed at that pass or at the add.
 */

#include "storage/stack_sums.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct stack_sums {
	uint32_t count;
	uint64_t narrow_total; /* no narrow sum is larger */
	bool is_overflown;
	uint32_t *narrow;
	uint64_t *wide;
};

struct stack_sums *stack_sums_new(uint32_t count)
{
	AUTO(stack_sums) sums = calloc(1, sizeof(*sums));
	if (!sums)
		return NULL;
	sums->count = count;
	sums->narrow = calloc((size_t)count + 1, sizeof(*sums->narrow));
	sums->wide = calloc((size_t)count + 1, sizeof(*sums->wide));
	return sums->narrow && sums->wide ? TAKE(sums) : NULL;
}

void stack_sums_free(struct stack_sums *sums)
{
	if (!sums)
		return;
	free(sums->narrow);
	free(sums->wide);
	free(sums);
}

void stack_sums_reset(struct stack_sums *sums)
{
	memset(sums->narrow, 0, sums->count * sizeof(*sums->narrow));
	memset(sums->wide, 0, sums->count * sizeof(*sums->wide));
	sums->narrow_total = 0;
	sums->is_overflown = false;
}

uint32_t stack_sums_count(const struct stack_sums *sums)
{
	return sums->count;
}

static void stack_sums_widen(struct stack_sums *sums)
{
	if (sums->narrow_total == 0)
		return;
	bool is_overflown = false;
	for (uint32_t i = 0; i < sums->count; i++) {
		uint64_t sum = sums->wide[i] + sums->narrow[i];
		is_overflown |= sum < sums->wide[i];
		sums->wide[i] = sum;
	}
	memset(sums->narrow, 0, sums->count * sizeof(*sums->narrow));
	sums->narrow_total = 0;
	sums->is_overflown |= is_overflown;
}

uint32_t *stack_sums_narrow(struct stack_sums *sums, uint64_t total)
{
	assert(total <= UINT32_MAX);
	if (sums->narrow_total + total > UINT32_MAX)
		stack_sums_widen(sums);
	sums->narrow_total += total;
	return sums->narrow;
}

int stack_sums_add(struct stack_sums *sums, uint32_t place, uint64_t value)
{
	assert(place < sums->count);
	uint64_t sum;
	if (__builtin_add_overflow(sums->wide[place], value, &sum))
		return -EOVERFLOW;
	sums->wide[place] = sum;
	return 0;
}

int stack_sums_get(struct stack_sums *sums, const uint64_t **ret_values)
{
	stack_sums_widen(sums);
	if (sums->is_overflown)
		return -EOVERFLOW;
	*ret_values = sums->wide;
	return 0;
}
