#pragma once

/*
 * gate lets many readers in at once, or one changer alone.
 *
 * Unlike a plain rwlock it may be entered again by a thread that is inside already (a reader calls
 * something that reads), and a waiting changer still goes before readers that come anew: queries
 * that overlap without end must not keep the writer out.
 */

#include <pthread.h>
#include <stdbool.h>

/* How many gates one thread can be inside of at the same time. */
#define GATE_INSIDE_MAX 4

struct gate {
	pthread_rwlock_t lock;
};

void gate_init(struct gate *gate);
void gate_fini(struct gate *gate);

void gate_enter(struct gate *gate);
/* true: this thread is outside now. */
bool gate_leave(struct gate *gate);

/* Is the calling thread inside, and would one gate_leave() take it out? */
bool gate_is_inside(const struct gate *gate);
bool gate_is_outermost(const struct gate *gate);

/* Alone. The thread must not be inside: it would wait for itself. */
void gate_lock(struct gate *gate);
bool gate_try_lock(struct gate *gate);
void gate_unlock(struct gate *gate);
