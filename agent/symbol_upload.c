/*
 * One queue, one thread, one file at a time. Failures are not repeated here: the aggregator asks
 * again with a later push, perhaps somebody else.
 */

#include "agent/symbol_upload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/build_id.h"
#include "agent/symbolizer.h"
#include "core/hash.h"
#include "core/log.h"

#define SYMBOL_UPLOAD_QUEUE       256
#define SYMBOL_UPLOAD_RECENT      1024
#define SYMBOL_UPLOAD_AGAIN_NS    (60 * NS_PER_S)
#define SYMBOL_UPLOAD_PART_BYTES  (1u << 20)
#define SYMBOL_UPLOAD_TIMEOUT_MS  10000
#define SYMBOL_UPLOAD_TRIES       5 /* of one part, when the aggregator is busy */
#define SYMBOL_UPLOAD_WAIT_MAX_MS 5000

struct symbol_upload_recent {
	uint64_t hash;
	uint64_t done_ns;
};

struct symbol_upload {
	struct symbol_upload_options options;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	char queue[SYMBOL_UPLOAD_QUEUE][BUILD_ID_TEXT_MAX]; /* a ring */
	uint32_t first;
	uint32_t count;
	bool stop;
	uint64_t deadline_ns; /* after which a stop waits no longer */
	struct symbol_upload_state state;
	/* Of the thread alone: a ring in which the oldest is overwritten. */
	struct symbol_upload_recent recent[SYMBOL_UPLOAD_RECENT];
	uint32_t recent_next;
};

static bool symbol_upload_is_build_id(const char *text, size_t count)
{
	if (count == 0 || count >= BUILD_ID_TEXT_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return true;
}

void symbol_upload_want(struct symbol_upload *upload, const char *build_id, size_t count)
{
	if (!symbol_upload_is_build_id(build_id, count))
		return;

	pthread_mutex_lock(&upload->lock);
	bool queued = upload->stop || upload->count == SYMBOL_UPLOAD_QUEUE;
	for (uint32_t i = 0; i < upload->count && !queued; i++) {
		const char *known = upload->queue[(upload->first + i) % SYMBOL_UPLOAD_QUEUE];

		queued = strlen(known) == count && !memcmp(known, build_id, count);
	}
	if (!queued) {
		char *place = upload->queue[(upload->first + upload->count) % SYMBOL_UPLOAD_QUEUE];

		memcpy(place, build_id, count);
		place[count] = 0;
		upload->count++;
		pthread_cond_broadcast(&upload->changed);
	}
	pthread_mutex_unlock(&upload->lock);
}

static bool symbol_upload_is_recent(
        const struct symbol_upload *upload, uint64_t hash, uint64_t now_ns)
{
	for (uint32_t i = 0; i < SYMBOL_UPLOAD_RECENT; i++) {
		const struct symbol_upload_recent *recent = &upload->recent[i];

		if (recent->done_ns && recent->hash == hash &&
		        now_ns - recent->done_ns < SYMBOL_UPLOAD_AGAIN_NS)
			return true;
	}
	return false;
}

static void symbol_upload_remember(struct symbol_upload *upload, uint64_t hash, uint64_t now_ns)
{
	upload->recent[upload->recent_next] = (struct symbol_upload_recent){ .hash = hash,
		.done_ns = now_ns };
	upload->recent_next = (upload->recent_next + 1) % SYMBOL_UPLOAD_RECENT;
}

/* Sleeps as the aggregator asked, but not past a stop's deadline. False: do not try again. */
static bool symbol_upload_wait(struct symbol_upload *upload, uint32_t retry_ms)
{
	uint64_t wait_ns = (retry_ms < SYMBOL_UPLOAD_WAIT_MAX_MS ? retry_ms
	                                                         : SYMBOL_UPLOAD_WAIT_MAX_MS) *
	                   NS_PER_MS;
	uint64_t until_ns = clock_monotonic_ns(clock_real()) + wait_ns;
	bool go_on;

	pthread_mutex_lock(&upload->lock);
	for (;;) {
		if (upload->stop && until_ns > upload->deadline_ns)
			until_ns = upload->deadline_ns;
		struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
			.tv_nsec = (long)(until_ns % NS_PER_S) };
		if (pthread_cond_timedwait(&upload->changed, &upload->lock, &until) == ETIMEDOUT)
			break;
	}
	go_on = !upload->stop || clock_monotonic_ns(clock_real()) < upload->deadline_ns;
	pthread_mutex_unlock(&upload->lock);
	return go_on;
}

/* The status of the reply, or negative errno where there was none. */
static int symbol_upload_call(struct symbol_upload *upload, const struct wire_symbols *part,
        struct wire_status_reply *ret_status)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF message = { 0 };
	AUTO_BUF unpacked = { 0 };
	autofree uint8_t *reply = NULL;
	size_t count = 0;
	struct wire_message opened;

	wire_put_symbols(part, &payload);
	if (payload.failed)
		return -ENOMEM;
	wire_seal(WIRE_SYMBOLS, &payload, &message);
	if (message.failed)
		return -ENOMEM;
	struct shipper_transport *transport = upload->options.transport;
	int result = transport->call(
	        transport, message.bytes, message.count, SYMBOL_UPLOAD_TIMEOUT_MS, &reply, &count);
	if (result == 0)
		result = wire_open(reply, count, &unpacked, &opened);
	if (result == 0 && opened.kind != WIRE_STATUS)
		result = -EPROTO;
	if (result == 0)
		result = wire_get_status(&opened.payload, ret_status);
	ret_status->text = (struct wire_text){ 0 };
	return result;
}

static int symbol_upload_part(struct symbol_upload *upload, const struct wire_symbols *part)
{
	for (uint32_t tries = 0; tries < SYMBOL_UPLOAD_TRIES; tries++) {
		struct wire_status_reply status = { 0 };
		int result = symbol_upload_call(upload, part, &status);

		if (result < 0)
			return result;
		if (status.status == WIRE_OK || status.status == WIRE_DUP)
			return 0;
		if (status.status != WIRE_BUSY)
			return -EPROTO;
		if (!symbol_upload_wait(upload, status.retry_ms))
			break;
	}
	return -EBUSY;
}

/* No bytes: nothing to be had. */
static int symbol_upload_send(
        struct symbol_upload *upload, const char *build_id, const struct buf *table)
{
	uint32_t parts = (uint32_t)((table->count + SYMBOL_UPLOAD_PART_BYTES - 1) /
	                            SYMBOL_UPLOAD_PART_BYTES);
	int result = 0;

	if (parts == 0)
		parts = 1;
	for (uint32_t i = 0; result == 0 && i < parts; i++) {
		size_t at = (size_t)i * SYMBOL_UPLOAD_PART_BYTES;
		size_t left = table->count - at;
		struct wire_symbols part = {
			.build_id = { .bytes = build_id, .count = (uint32_t)strlen(build_id) },
			.part = i,
			.parts = parts,
			.total_bytes = table->count,
			.bytes = left ? table->bytes + at : NULL,
			.count = (uint32_t)(left < SYMBOL_UPLOAD_PART_BYTES
			                            ? left
			                            : SYMBOL_UPLOAD_PART_BYTES),
		};

		result = symbol_upload_part(upload, &part);
	}
	return result;
}

/* -ENOENT: not here. Other errors say why there is no table. */
static int symbol_upload_extract(
        const struct symbol_upload *upload, const char *build_id, struct buf *table)
{
	const struct shipper_callbacks *callbacks = &upload->options.callbacks;
	char vdso[BUILD_ID_TEXT_MAX];
	const void *image;
	size_t bytes;

	if (build_id_of_vdso(vdso, &image, &bytes) == 0 && !strcmp(vdso, build_id))
		return elf_symbols_extract(image, bytes, table);
	if (!callbacks->open_build_id)
		return -ENOENT;
	autoclose int fd = callbacks->open_build_id(callbacks->owner, build_id);
	return fd < 0 ? -ENOENT : symbolizer_extract(fd, symbolizer_limits_default, table);
}

static void symbol_upload_answer(struct symbol_upload *upload, const char *build_id)
{
	uint64_t hash = hash64_bytes(build_id, strlen(build_id));
	uint64_t now_ns = clock_monotonic_ns(upload->options.clock);
	struct symbol_upload_state did = { 0 };
	AUTO_BUF table = { 0 };

	if (symbol_upload_is_recent(upload, hash, now_ns))
		return;
	int extracted = symbol_upload_extract(upload, build_id, &table);
	if (extracted == -ENOENT || extracted == -ENOMEM || extracted == -EAGAIN) {
		symbol_upload_remember(upload, hash, now_ns);
		did.missing++;
	} else {
		if (extracted < 0)
			buf_reset(&table);
		int result = symbol_upload_send(upload, build_id, &table);
		if (result == 0)
			symbol_upload_remember(upload, hash, now_ns);
		log_debug("symbols-sent", "%s: %zu bytes (read: %s, sent: %s)", build_id,
		        table.count, strerror(-extracted), strerror(-result));
		did.failures += result < 0;
		did.files += result == 0 && extracted == 0;
		did.empty += result == 0 && extracted < 0;
		did.bytes += result == 0 ? table.count : 0;
	}

	pthread_mutex_lock(&upload->lock);
	upload->state.files += did.files;
	upload->state.empty += did.empty;
	upload->state.missing += did.missing;
	upload->state.failures += did.failures;
	upload->state.bytes += did.bytes;
	pthread_mutex_unlock(&upload->lock);
}

static void *symbol_upload_run(void *owner)
{
	struct symbol_upload *upload = owner;
	char build_id[BUILD_ID_TEXT_MAX];

	pthread_mutex_lock(&upload->lock);
	for (;;) {
		while (upload->count == 0 && !upload->stop)
			pthread_cond_wait(&upload->changed, &upload->lock);
		if (upload->stop && (upload->count == 0 || clock_monotonic_ns(clock_real()) >=
		                                                   upload->deadline_ns))
			break;
		memcpy(build_id, upload->queue[upload->first], sizeof(build_id));
		upload->first = (upload->first + 1) % SYMBOL_UPLOAD_QUEUE;
		upload->count--;
		pthread_mutex_unlock(&upload->lock);
		symbol_upload_answer(upload, build_id);
		pthread_mutex_lock(&upload->lock);
	}
	pthread_mutex_unlock(&upload->lock);
	return NULL;
}

int symbol_upload_new(struct symbol_upload_options options, struct symbol_upload **ret_upload)
{
	AUTO(symbol_upload) upload = calloc(1, sizeof(*upload));
	pthread_condattr_t attributes;

	if (!upload)
		return -ENOMEM;
	upload->options = options;
	(void)pthread_mutex_init(&upload->lock, NULL);
	/* A clock that may be set back must not stretch a wait. */
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&upload->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	int result = pthread_create(&upload->thread, NULL, symbol_upload_run, upload);
	if (result != 0)
		return -result;
	upload->started = true;
	(void)pthread_setname_np(upload->thread, "symbol-upload");
	*ret_upload = TAKE(upload);
	return 0;
}

void symbol_upload_stop(struct symbol_upload *upload, uint64_t deadline_ns)
{
	if (!upload->started)
		return;
	pthread_mutex_lock(&upload->lock);
	upload->stop = true;
	upload->deadline_ns = deadline_ns;
	pthread_cond_broadcast(&upload->changed);
	pthread_mutex_unlock(&upload->lock);
	(void)pthread_join(upload->thread, NULL);
	upload->started = false;
}

void symbol_upload_free(struct symbol_upload *upload)
{
	if (!upload)
		return;
	symbol_upload_stop(upload, 0);
	(void)pthread_cond_destroy(&upload->changed);
	(void)pthread_mutex_destroy(&upload->lock);
	free(upload);
}

struct symbol_upload_state symbol_upload_state(struct symbol_upload *upload)
{
	pthread_mutex_lock(&upload->lock);
	struct symbol_upload_state state = upload->state;
	pthread_mutex_unlock(&upload->lock);
	return state;
}
