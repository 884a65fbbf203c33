#pragma once

/*
 * job_queue holds requests that wait for a worker: bounded in bytes and in number, with a counter
 * of what it refused. Any thread adds, workers take.
 *
 * A job owns a copy of the request's bytes and the duty to answer it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/net.h"

struct job {
	struct net_request *request;
	uint8_t *bytes; /* freed by whoever took the job */
	size_t count;
};

struct job_queue;

struct job_queue *job_queue_new(uint64_t bytes_max, uint32_t jobs_max);
void job_queue_free(struct job_queue *queue); /* must be empty */
DEFINE_AUTO(job_queue);

/* -EBUSY: full or closed; -ENOMEM. The request is then still the caller's to answer. */
int job_queue_add(
        struct job_queue *queue, struct net_request *request, const uint8_t *bytes, size_t count);

/* Waits for at least one job and takes up to `max`. 0 only after close, when nothing is left. */
uint32_t job_queue_take(struct job_queue *queue, struct job *ret_jobs, uint32_t max);

/* No job enters any more; workers finish what is there and then get 0. */
void job_queue_close(struct job_queue *queue);

void job_queue_set_bytes_max(struct job_queue *queue, uint64_t bytes_max);

struct job_queue_state {
	uint64_t bytes;
	uint32_t jobs;
	uint64_t refused;
};

struct job_queue_state job_queue_state(struct job_queue *queue);
