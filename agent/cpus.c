/*
 * A list is read by hand, digit by digit, so that "1-" and "3-1" are errors and not guesses: a CPU
 * that is missed is a CPU whose samples nobody misses.
 */

#include "agent/cpus.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/auto.h"

static void cpus_add(struct cpus *cpus, uint32_t cpu)
{
	if (!cpus_has(cpus, cpu))
		cpus->count++;
	cpus->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

/* The number at *at, which moves behind it. */
static bool cpus_number(const char *text, size_t count, size_t *at, uint32_t *ret_number)
{
	uint32_t number = 0;
	size_t start = *at;

	while (*at < count && text[*at] >= '0' && text[*at] <= '9') {
		number = number * 10 + (uint32_t)(text[*at] - '0');
		if (number >= CPUS_MAX)
			return false;
		(*at)++;
	}
	*ret_number = number;
	return *at > start;
}

int cpus_parse(const char *text, size_t count, struct cpus *ret_cpus)
{
	struct cpus cpus = { 0 };
	size_t at = 0;

	while (count > 0 && (text[count - 1] == '\n' || text[count - 1] == 0))
		count--;
	while (at < count) {
		uint32_t first;
		uint32_t last;

		if (!cpus_number(text, count, &at, &first))
			return -EBADMSG;
		last = first;
		if (at < count && text[at] == '-') {
			at++;
			if (!cpus_number(text, count, &at, &last) || last < first)
				return -EBADMSG;
		}
		for (uint32_t cpu = first; cpu <= last; cpu++)
			cpus_add(&cpus, cpu);
		if (at < count && (text[at++] != ',' || at == count))
			return -EBADMSG;
	}
	*ret_cpus = cpus;
	return 0;
}

int cpus_read(const char *path, struct cpus *ret_cpus)
{
	char text[4096];
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t count = read(fd, text, sizeof(text));
	if (count < 0)
		return -errno;
	return cpus_parse(text, (size_t)count, ret_cpus);
}
