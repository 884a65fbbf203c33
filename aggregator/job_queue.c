/* A ring of jobs under one lock; the condition tells workers that something came or that it is
 * over. */

#include "aggregator/job_queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

struct job_queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *jobs;
	uint32_t jobs_max;
	uint32_t first;
	uint32_t count;
	uint64_t bytes;
	uint64_t bytes_max;
	uint64_t refused;
	bool closed;
};

struct job_queue *job_queue_new(uint64_t bytes_max, uint32_t jobs_max)
{
	AUTO(job_queue) queue = calloc(1, sizeof(*queue));
	if (!queue)
		return NULL;
	(void)pthread_mutex_init(&queue->lock, NULL); /* Cannot fail with default attributes. */
	(void)pthread_cond_init(&queue->changed, NULL);
	queue->jobs_max = jobs_max;
	queue->bytes_max = bytes_max;
	queue->jobs = calloc(jobs_max, sizeof(*queue->jobs));
	if (!queue->jobs)
		return NULL;
	return TAKE(queue);
}

void job_queue_free(struct job_queue *queue)
{
	if (!queue)
		return;
	assert(queue->count == 0);
	(void)pthread_cond_destroy(&queue->changed);
	(void)pthread_mutex_destroy(&queue->lock);
	free(queue->jobs);
	free(queue);
}

static bool job_queue_fits(const struct job_queue *queue, size_t count)
{
	return !queue->closed && queue->count < queue->jobs_max &&
	       (queue->count == 0 || queue->bytes + count <= queue->bytes_max);
}

int job_queue_add(
        struct job_queue *queue, struct net_request *request, const uint8_t *bytes, size_t count)
{
	autofree uint8_t *copy = malloc(count ? count : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, count);

	int r = 0;
	(void)pthread_mutex_lock(&queue->lock);
	if (job_queue_fits(queue, count)) {
		uint32_t last = (queue->first + queue->count) % queue->jobs_max;
		queue->jobs[last] =
		        (struct job){ .request = request, .bytes = TAKE(copy), .count = count };
		queue->count++;
		queue->bytes += count;
		(void)pthread_cond_signal(&queue->changed);
	} else {
		queue->refused++;
		r = -EBUSY;
	}
	(void)pthread_mutex_unlock(&queue->lock);
	return r;
}

uint32_t job_queue_take(struct job_queue *queue, struct job *ret_jobs, uint32_t max)
{
	uint32_t taken = 0;
	(void)pthread_mutex_lock(&queue->lock);
	while (queue->count == 0 && !queue->closed)
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	while (queue->count > 0 && taken < max) {
		ret_jobs[taken] = queue->jobs[queue->first];
		queue->bytes -= ret_jobs[taken].count;
		queue->first = (queue->first + 1) % queue->jobs_max;
		queue->count--;
		taken++;
	}
	(void)pthread_mutex_unlock(&queue->lock);
	return taken;
}

void job_queue_close(struct job_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->closed = true;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
}

void job_queue_set_bytes_max(struct job_queue *queue, uint64_t bytes_max)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->bytes_max = bytes_max;
	(void)pthread_mutex_unlock(&queue->lock);
}

struct job_queue_state job_queue_state(struct job_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	struct job_queue_state state = {
		.bytes = queue->bytes,
		.jobs = queue->count,
		.refused = queue->refused,
	};
	(void)pthread_mutex_unlock(&queue->lock);
	return state;
}
