/* Numbers as in a shop: whoever comes draws one and waits until it is called. */

#include "storage/turn_lock.h"

#include <stddef.h>

void turn_lock_init(struct turn_lock *lock)
{
	pthread_mutex_init(&lock->mutex, NULL);
	pthread_cond_init(&lock->changed, NULL);
	lock->next = 0;
	lock->serving = 0;
}

void turn_lock_fini(struct turn_lock *lock)
{
	pthread_cond_destroy(&lock->changed);
	pthread_mutex_destroy(&lock->mutex);
}

static void turn_lock_wait(struct turn_lock *lock)
{
	uint64_t number = lock->next++;
	while (lock->serving != number)
		pthread_cond_wait(&lock->changed, &lock->mutex);
}

static void turn_lock_call_next(struct turn_lock *lock)
{
	lock->serving++;
	pthread_cond_broadcast(&lock->changed);
}

void turn_lock_enter(struct turn_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	turn_lock_wait(lock);
	pthread_mutex_unlock(&lock->mutex);
}

void turn_lock_leave(struct turn_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	turn_lock_call_next(lock);
	pthread_mutex_unlock(&lock->mutex);
}

void turn_lock_pass(struct turn_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	if (lock->next - lock->serving > 1) {
		turn_lock_call_next(lock);
		turn_lock_wait(lock);
	}
	pthread_mutex_unlock(&lock->mutex);
}

uint64_t turn_lock_waiting(struct turn_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	uint64_t inside = lock->next - lock->serving;
	pthread_mutex_unlock(&lock->mutex);
	return inside > 0 ? inside - 1 : 0;
}
