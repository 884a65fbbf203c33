/*
 * A rwlock that prefers writers refuses recursive readers (they would wait behind a writer that
 * waits for them), so each thread counts how often it is inside and takes the lock only once.
 */

#include "storage/gate.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static _Thread_local struct {
	const struct gate *gate;
	uint32_t depth;
} gate_inside[GATE_INSIDE_MAX];

/* Where this thread counts for the gate, or a free place for `gate` NULL; -1: there is none. */
static int gate_find(const struct gate *gate)
{
	for (int i = 0; i < GATE_INSIDE_MAX; i++)
		if (gate_inside[i].gate == gate)
			return i;
	return -1;
}

void gate_init(struct gate *gate)
{
	pthread_rwlockattr_t attributes;
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	int r = pthread_rwlock_init(&gate->lock, &attributes);
	assert(r == 0);
	pthread_rwlockattr_destroy(&attributes);
}

void gate_fini(struct gate *gate)
{
	assert(!gate_is_inside(gate));
	pthread_rwlock_destroy(&gate->lock);
}

void gate_enter(struct gate *gate)
{
	int i = gate_find(gate);
	if (i < 0) {
		i = gate_find(NULL);
		assert(i >= 0);
		pthread_rwlock_rdlock(&gate->lock);
		gate_inside[i].gate = gate;
	}
	gate_inside[i].depth++;
}

bool gate_leave(struct gate *gate)
{
	int i = gate_find(gate);
	assert(i >= 0);
	if (--gate_inside[i].depth > 0)
		return false;
	gate_inside[i].gate = NULL;
	pthread_rwlock_unlock(&gate->lock);
	return true;
}

bool gate_is_inside(const struct gate *gate)
{
	return gate_find(gate) >= 0;
}

bool gate_is_outermost(const struct gate *gate)
{
	int i = gate_find(gate);
	return i >= 0 && gate_inside[i].depth == 1;
}

void gate_lock(struct gate *gate)
{
	assert(!gate_is_inside(gate));
	pthread_rwlock_wrlock(&gate->lock);
}

bool gate_try_lock(struct gate *gate)
{
	assert(!gate_is_inside(gate));
	return pthread_rwlock_trywrlock(&gate->lock) == 0;
}

void gate_unlock(struct gate *gate)
{
	pthread_rwlock_unlock(&gate->lock);
}
