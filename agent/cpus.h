#pragma once

/*
 * cpus is the set of processors that are on line, as /sys/devices/system/cpu/online lists them:
 * "0-3,8".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUS_MAX         8192
#define CPUS_ONLINE_PATH "/sys/devices/system/cpu/online"

struct cpus {
	uint64_t words[CPUS_MAX / 64];
	uint32_t count;
};

/* -EBADMSG: not a list of ranges, or a number past CPUS_MAX. An empty list is one. */
int cpus_parse(const char *text, size_t count, struct cpus *ret_cpus);

/* -errno, -EBADMSG. */
int cpus_read(const char *path, struct cpus *ret_cpus);

static inline bool cpus_has(const struct cpus *cpus, uint32_t cpu)
{
	return cpu < CPUS_MAX && (cpus->words[cpu / 64] >> (cpu % 64) & 1) != 0;
}
