/* The reference algorithms, written from their description; the test compares known numbers. */

#include "core/rng.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

static uint64_t rng_splitmix64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		rng->state[i] = rng_splitmix64(&seed);
}

static uint64_t rng_rotate(uint64_t value, int bits)
{
	return value << bits | value >> (64 - bits);
}

uint64_t rng_u64(struct rng *rng)
{
	uint64_t *s = rng->state;
	uint64_t result = rng_rotate(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rng_rotate(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	assert(bound > 0);

	/* The last, incomplete round of `bound` numbers is thrown away. */
	uint64_t surplus = (UINT64_MAX % bound + 1) % bound;
	uint64_t value;
	do
		value = rng_u64(rng);
	while (value > UINT64_MAX - surplus);
	return value % bound;
}

double rng_fraction(struct rng *rng)
{
	return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

int rng_os_bytes(void *ret_bytes, size_t count)
{
	uint8_t *to = ret_bytes;
	while (count > 0) {
		ssize_t n = getrandom(to, count, 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			to += n;
			count -= (size_t)n;
		}
	}
	return 0;
}
