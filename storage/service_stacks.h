#pragma once

/*
 * service_stacks counts how many new stacks each service brought in the current window. Counts are
 * forgotten with the window or the generation of the dictionary, whichever ends first: the cap is
 * against a service that never says the same twice, not an account.
 *
 * What a group of appends brought that was not kept is taken back: a sender that tries again and
 * again while the disk is full has brought nothing yet. One thread at a time: under writer.
 */

#include <stdint.h>

struct service_stacks;

/* NULL when out of memory. */
struct service_stacks *service_stacks_new(void);
void service_stacks_free(struct service_stacks *services);

/* Before the first section of a group; and after the last, where nothing of it was kept. */
void service_stacks_begin(struct service_stacks *services);
void service_stacks_take_back(struct service_stacks *services);

/*
 * The count of (tenant, service), from 0 in each window and generation; borrowed for this section.
 * -ENOMEM. -ENOSPC: more services than are counted.
 */
int service_stacks_get(struct service_stacks *services, uint64_t window, uint32_t generation,
        const char *tenant, uint32_t service, uint32_t **ret_count);
