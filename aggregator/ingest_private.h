#pragma once

/* What ingest.c and the files of its messages (recv_hello, recv_push, recv_symbols) share. */

#include <pthread.h>

#include "aggregator/ingest.h"
#include "aggregator/job_queue.h"
#include "aggregator/session_table.h"
#include "aggregator/symbol_inbox.h"

struct ingest {
	struct ingest_options options;
	struct job_queue *queue;
	struct session_table *sessions;
	struct symbol_inbox *inbox;
	pthread_t thread;
	bool started;
	struct buf unpacked; /* of the message at hand */
	struct buf payload;  /* of the reply at hand */
	struct buf sealed;
	pthread_mutex_t lock; /* of state */
	struct ingest_state state;
};

/* One push of a group: from its arrival until the group is synced. */
struct push_job {
	struct net_request *request;
	struct session *session; /* NULL once it was answered or refused */
	struct wire_push push;
	struct store_append *appends; /* push.sections_count of them */
	struct batch **batches;
	uint32_t sections_count;
};

/* Answers at once. */
void recv_hello(struct ingest *ingest, struct net_request *request, struct reader *payload);
void recv_symbols(struct ingest *ingest, struct net_request *request, struct reader *payload);

/* Decodes; true when the job waits for the group's write, false when it was answered already. */
bool recv_push(struct ingest *ingest, struct net_request *request, struct reader *payload,
        struct push_job *ret_job);

/* Answers a push whose group was written, or (r < 0) could not be. */
void recv_push_answer(struct ingest *ingest, struct push_job *job, int r);
void push_job_fini(struct push_job *job);
size_t push_job_memory(const struct push_job *job); /* of what was decoded, about */

/* Seals `payload` and replies. */
void ingest_reply(struct ingest *ingest, struct net_request *request, enum wire_kind kind);
void ingest_refuse(struct ingest *ingest, struct net_request *request, enum wire_status status,
        uint32_t retry_ms, const char *text);

#define INGEST_COUNT(ingest, member, n)                                                            \
	do {                                                                                       \
		(void)pthread_mutex_lock(&(ingest)->lock);                                         \
		(ingest)->state.member += (n);                                                     \
		(void)pthread_mutex_unlock(&(ingest)->lock);                                       \
	} while (0)
