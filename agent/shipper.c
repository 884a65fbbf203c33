/*
 * The thread sleeps until there is a batch or a retry is due, moves the inbox into the spool, and
 * takes one step of delivery. What others may see of it is a copy, made after each step, so that
 * nobody ever waits for an exchange.
 */

#include "agent/shipper.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/delivery.h"
#include "agent/symbol_upload.h"
#include "core/log.h"
#include "core/net.h"

#define SHIPPER_INBOX_MAX       64
#define SHIPPER_INBOX_BYTES_MAX (16u << 20)
#define SHIPPER_CALL_MS         10000

struct shipper_parcel {
	struct shipper_parcel *next;
	uint8_t *bytes;
	size_t count;
	uint64_t samples;
};

static void shipper_parcel_free(struct shipper_parcel *parcel)
{
	if (!parcel)
		return;
	free(parcel->bytes);
	free(parcel);
}
DEFINE_AUTO(shipper_parcel);

/* nng behind the transport. */
struct shipper_net {
	struct shipper_transport transport;
	struct net_client *client;
};

struct shipper {
	char *address;
	char *host;
	char *program;
	char *tenant;
	struct shipper_net net;
	struct delivery *delivery; /* of the thread, while it runs */
	struct symbol_upload *upload;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	struct shipper_parcel *first;
	struct shipper_parcel **last;
	uint32_t inbox_count;
	uint64_t inbox_bytes;
	uint64_t inbox_samples;
	struct delivery_losses lost; /* found no room, and delivery does not know yet */
	bool stop;
	uint64_t deadline_ns;
	struct shipper_state state; /* delivery's, after its last step */
};

static int shipper_net_call(struct shipper_transport *transport, const uint8_t *bytes, size_t count,
        uint32_t timeout_ms, uint8_t **ret_bytes, size_t *ret_count)
{
	struct shipper_net *net = (struct shipper_net *)transport;

	return net_call(net->client, bytes, count, timeout_ms, ret_bytes, ret_count);
}

/* ---- thread ---- */

/* The inbox and the losses, emptied; the samples stay counted as waiting until they are in the
 * spool. */
static struct shipper_parcel *shipper_empty_inbox(
        struct shipper *shipper, struct delivery_losses *ret_lost)
{
	struct shipper_parcel *first = shipper->first;

	shipper->first = NULL;
	shipper->last = &shipper->first;
	shipper->inbox_count = 0;
	shipper->inbox_bytes = 0;
	*ret_lost = shipper->lost;
	shipper->lost = (struct delivery_losses){ 0 };
	return first;
}

static uint64_t shipper_spool(
        struct shipper *shipper, struct shipper_parcel *first, const struct delivery_losses *lost)
{
	uint64_t samples = 0;

	while (first) {
		AUTO(shipper_parcel) parcel = first;

		first = parcel->next;
		samples += parcel->samples;
		delivery_add(shipper->delivery, parcel->bytes, parcel->count);
	}
	delivery_add_losses(shipper->delivery, lost);
	return samples;
}

/* With the lock. */
static void shipper_publish(struct shipper *shipper, uint64_t spooled)
{
	shipper->inbox_samples -= spooled;
	shipper->state = delivery_state(shipper->delivery);
}

static void shipper_sleep(struct shipper *shipper, uint64_t until_ns)
{
	struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
		.tv_nsec = (long)(until_ns % NS_PER_S) };

	if (until_ns == DELIVERY_IDLE)
		(void)pthread_cond_wait(&shipper->changed, &shipper->lock);
	else
		(void)pthread_cond_timedwait(&shipper->changed, &shipper->lock, &until);
}

static uint32_t shipper_call_ms(const struct shipper *shipper, uint64_t now_ns)
{
	if (!shipper->stop)
		return SHIPPER_CALL_MS;

	uint64_t left_ms = (shipper->deadline_ns - now_ns) / NS_PER_MS + 1;
	return left_ms < SHIPPER_CALL_MS ? (uint32_t)left_ms : SHIPPER_CALL_MS;
}

/* Is there a reason to end, now that a stop was asked for? */
static bool shipper_may_end(const struct shipper *shipper, uint64_t now_ns, bool tried)
{
	if (shipper->first)
		return false;
	if (now_ns >= shipper->deadline_ns || delivery_is_done(shipper->delivery))
		return true;
	/* What the disk keeps need not wait for an aggregator that does not answer. */
	return tried && !shipper->state.connected && shipper->state.spool.memory_bytes == 0;
}

static void *shipper_run(void *owner)
{
	struct shipper *shipper = owner;
	uint64_t due_ns = 0;
	bool tried = false; /* since the stop was asked for */
	bool hurried = false;

	pthread_mutex_lock(&shipper->lock);
	for (;;) {
		uint64_t now_ns = clock_monotonic_ns(clock_real());
		struct delivery_losses lost;

		if (shipper->stop && shipper_may_end(shipper, now_ns, tried))
			break;
		if (shipper->stop && due_ns > shipper->deadline_ns)
			due_ns = shipper->deadline_ns;
		if (!shipper->first && now_ns < due_ns && (!shipper->stop || hurried)) {
			shipper_sleep(shipper, due_ns);
			continue;
		}
		uint32_t call_ms = shipper_call_ms(shipper, now_ns);
		bool hurry = shipper->stop;
		struct shipper_parcel *first = shipper_empty_inbox(shipper, &lost);
		pthread_mutex_unlock(&shipper->lock);

		uint64_t spooled = shipper_spool(shipper, first, &lost);
		if (hurry && !hurried)
			delivery_hurry(shipper->delivery);
		hurried = hurry;
		due_ns = delivery_step(shipper->delivery, call_ms);

		pthread_mutex_lock(&shipper->lock);
		shipper_publish(shipper, spooled);
		tried = hurry;
	}
	pthread_mutex_unlock(&shipper->lock);
	return NULL;
}

/* ---- agent ---- */

/* What cannot be kept is counted: with the lock. */
static void shipper_lose(
        struct shipper *shipper, const struct batch *batch, enum loss_reason reason)
{
	delivery_losses_add(&shipper->lost, batch, reason);
	pthread_cond_signal(&shipper->changed);
}

static struct shipper_parcel *shipper_pack(struct batch *batch)
{
	AUTO(shipper_parcel) parcel = calloc(1, sizeof(*parcel));
	AUTO_BUF encoded = { 0 };

	if (!parcel || batch_settle(batch) < 0)
		return NULL;
	batch_encode_whole(batch, &encoded);
	parcel->samples = batch_samples(batch);
	parcel->bytes = buf_take(&encoded, &parcel->count);
	return parcel->bytes ? TAKE(parcel) : NULL;
}

void shipper_add(struct shipper *shipper, struct batch *batch)
{
	AUTO(shipper_parcel) parcel = shipper_pack(batch);

	pthread_mutex_lock(&shipper->lock);
	if (!parcel) {
		shipper_lose(shipper, batch, LOSS_AGENT_MEMORY);
	} else if (shipper->stop || shipper->inbox_count >= SHIPPER_INBOX_MAX ||
	           shipper->inbox_bytes + parcel->count > SHIPPER_INBOX_BYTES_MAX) {
		shipper_lose(shipper, batch, LOSS_SPOOL_FULL);
	} else {
		shipper->inbox_count++;
		shipper->inbox_bytes += parcel->count;
		shipper->inbox_samples += parcel->samples;
		*shipper->last = parcel;
		shipper->last = &parcel->next;
		(void)TAKE(parcel);
		pthread_cond_signal(&shipper->changed);
	}
	pthread_mutex_unlock(&shipper->lock);
}

struct shipper_state shipper_state(struct shipper *shipper)
{
	pthread_mutex_lock(&shipper->lock);
	struct shipper_state state = shipper->state;
	state.spool.samples += shipper->inbox_samples;
	state.spool.memory_samples += shipper->inbox_samples;
	for (uint32_t i = 0; i <= LOSS_REASON_MAX; i++)
		state.lost[i] += shipper->lost.ours[i];
	pthread_mutex_unlock(&shipper->lock);

	struct symbol_upload_state symbols = symbol_upload_state(shipper->upload);
	state.symbols_sent = symbols.files;
	return state;
}

uint64_t shipper_stop(struct shipper *shipper, uint64_t timeout_ns)
{
	uint64_t deadline_ns = clock_monotonic_ns(clock_real()) + timeout_ns;

	if (shipper->started) {
		pthread_mutex_lock(&shipper->lock);
		shipper->stop = true;
		shipper->deadline_ns = deadline_ns;
		pthread_cond_signal(&shipper->changed);
		pthread_mutex_unlock(&shipper->lock);
		(void)pthread_join(shipper->thread, NULL);
		shipper->started = false;
		symbol_upload_stop(shipper->upload, deadline_ns);
	}
	return shipper_state(shipper).spool.memory_samples;
}

void shipper_free(struct shipper *shipper)
{
	if (!shipper)
		return;
	if (shipper->started)
		(void)shipper_stop(shipper, 0);
	symbol_upload_free(shipper->upload);
	delivery_free(shipper->delivery);
	net_client_free(shipper->net.client);
	while (shipper->first) {
		AUTO(shipper_parcel) parcel = shipper->first;
		shipper->first = parcel->next;
	}
	(void)pthread_cond_destroy(&shipper->changed);
	(void)pthread_mutex_destroy(&shipper->lock);
	free(shipper->address);
	free(shipper->host);
	free(shipper->program);
	free(shipper->tenant);
	free(shipper);
}

static int shipper_copy_options(struct shipper *shipper, struct shipper_options *options)
{
	shipper->address = strdup(options->address ? options->address : "");
	shipper->host = strdup(options->host ? options->host : "");
	shipper->program = strdup(options->program ? options->program : "");
	shipper->tenant = strdup(options->tenant ? options->tenant : "");
	if (!shipper->address || !shipper->host || !shipper->program || !shipper->tenant)
		return -ENOMEM;
	options->address = shipper->address;
	options->host = shipper->host;
	options->program = shipper->program;
	options->tenant = shipper->tenant;
	if (!options->clock)
		options->clock = clock_real();
	return 0;
}

static int shipper_open_net(struct shipper *shipper, struct shipper_options *options,
        char *ret_error, size_t error_bytes)
{
	int result;

	if (options->transport)
		return 0;
	result = net_client_open(options->address, &shipper->net.client);
	if (result < 0) {
		snprintf(ret_error, error_bytes, "%s: %s", options->address,
		        result == -EINVAL ? "not an address: write tcp://HOST:PORT"
		                          : strerror(-result));
		return result;
	}
	shipper->net.transport.call = shipper_net_call;
	options->transport = &shipper->net.transport;
	return 0;
}

static void shipper_want_symbols(void *owner, const char *build_id, size_t count)
{
	symbol_upload_want(owner, build_id, count);
}

static int shipper_start(struct shipper *shipper)
{
	int result = pthread_create(&shipper->thread, NULL, shipper_run, shipper);

	if (result != 0)
		return -result;
	shipper->started = true;
	(void)pthread_setname_np(shipper->thread, "shipper");
	return 0;
}

int shipper_new(struct shipper_options options, struct shipper **ret_shipper, char *ret_error,
        size_t error_bytes)
{
	AUTO(shipper) shipper = calloc(1, sizeof(*shipper));
	pthread_condattr_t attributes;

	assert(options.epoch != 0);
	snprintf(ret_error, error_bytes, "out of memory");
	if (!shipper)
		return -ENOMEM;
	shipper->last = &shipper->first;
	(void)pthread_mutex_init(&shipper->lock, NULL);
	/* A clock that may be set back must not stretch a wait. */
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&shipper->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);

	int result = shipper_copy_options(shipper, &options);
	if (result == 0)
		result = shipper_open_net(shipper, &options, ret_error, error_bytes);
	if (result < 0)
		return result;
	struct symbol_upload_options upload = {
		.callbacks = options.callbacks,
		.transport = options.transport,
		.clock = options.clock,
	};
	result = symbol_upload_new(upload, &shipper->upload);
	if (result < 0)
		return result;
	struct delivery_options delivery = {
		.shipper = options,
		.wanted = shipper_want_symbols,
		.wanted_owner = shipper->upload,
	};
	result = delivery_new(delivery, &shipper->delivery, ret_error, error_bytes);
	if (result < 0)
		return result;
	shipper->state = delivery_state(shipper->delivery);
	result = shipper_start(shipper);
	if (result < 0)
		return result;

	*ret_shipper = TAKE(shipper);
	return 0;
}
