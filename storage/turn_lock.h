#pragma once

/*
 * turn_lock lets one in at a time, in the order in which they came, and whoever has it for long can
 * let the others go first.
 *
 * A mutex gives no order: a sealer with a hundred windows to seal that unlocks between two of them
 * has locked again before somebody who waits has woken, and administration waits for all hundred.
 */

#include <pthread.h>
#include <stdint.h>

struct turn_lock {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint64_t next;    /* the number of whoever comes next */
	uint64_t serving; /* who may be in */
};

void turn_lock_init(struct turn_lock *lock);
void turn_lock_fini(struct turn_lock *lock);

void turn_lock_enter(struct turn_lock *lock);
void turn_lock_leave(struct turn_lock *lock);

/* By who is inside: lets everybody in who waits now, and is inside again. Nothing when nobody does.
 */
void turn_lock_pass(struct turn_lock *lock);

/* How many wait. */
uint64_t turn_lock_waiting(struct turn_lock *lock);
