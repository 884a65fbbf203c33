#pragma once

/*
 * admin_running knows what administration is at work on, so that who waits for it can be told for
 * what and how far it is: a place for each thread of admin.c, written by that thread and read by
 * whoever asks. It has a lock of its own, which is held for as long as copying takes.
 */

#include <stdint.h>

#include "core/json.h"

#define ADMIN_RUNNING_MAX 4 /* places, one for each thread */

struct admin_running;

struct admin_running *admin_running_new(void); /* NULL: out of memory */
void admin_running_free(struct admin_running *running);

/* Methods of one lane go one after the other, or are many at once (lane 0) and wait for nobody. */
void admin_running_begin(struct admin_running *running, uint32_t place, uint32_t lane,
        const char *method, const char *actor, const char *request);
/* How far it is, in bytes. */
void admin_running_at(struct admin_running *running, uint32_t place, uint64_t done, uint64_t total);
void admin_running_end(struct admin_running *running, uint32_t place);

/*
 * Of a request that somebody waits for: keys of the open object. is_running, done and total of
 * itself; before: what it waits for, with method, actor and for_ns, where there is something. The
 * place is that of who asks, who has the same request and is not meant.
 */
void admin_running_put(struct admin_running *running, uint32_t place, uint32_t lane,
        const char *request, struct json_writer *json);
