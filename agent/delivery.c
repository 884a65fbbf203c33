/*
 * A step is HELLO when there is no session, else PUSH when the spool has something. A push is built
 * in the session's own dict, whose new part is the delta; the mark of what the aggregator knows
 * moves only when its reply is in hand.
 *
 *	session->dict   [ known to the aggregator | new in this push ]
 *	                                          ^ session_known
 *
 * What the reply says of each section is the table in delivery_settle(). Waits between tries double
 * and are jittered, so that a fleet does not come back as one.
 */

#include "agent/delivery.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/rng.h"

#define DELIVERY_SECTIONS_MAX   256
#define DELIVERY_WAIT_FIRST_NS  (250 * NS_PER_MS)
#define DELIVERY_WAIT_MAX_NS    (15 * NS_PER_S)
#define DELIVERY_WAIT_HURRY_NS  (250 * NS_PER_MS)
#define DELIVERY_WAIT_LONG_NS   (60 * NS_PER_S) /* until somebody updates one of the two */
#define DELIVERY_HELLO_MS       3000
#define DELIVERY_PUSH_BYTES_MIN 65536
#define DELIVERY_NODES_MAX      (256u << 10) /* of ours, whatever the aggregator would bear */
#define DELIVERY_DICT_BYTES     (32u << 20)  /* a session's dict past this is given up */
#define DELIVERY_REFUSALS_MAX   3 /* of one entry alone in a fresh session: then it is the entry */

struct delivery {
	struct delivery_options options;
	struct spool *spool;
	struct rng rng;

	uint64_t session; /* 0: none */
	uint64_t request; /* the last that was answered */
	struct dict *dict;
	struct dict_mark session_known;
	uint32_t push_bytes_max;
	uint32_t nodes_max;

	uint64_t due_ns;
	uint64_t wait_ns; /* the next wait, before jitter; 0: the last exchange was good */
	bool hurry;
	bool quiet;              /* the current trouble was logged */
	uint32_t refusals;       /* messages refused as a whole, in a row */
	uint64_t refused_handle; /* the entry that was alone in the last of them */

	uint64_t pending[LOSS_REASON_MAX + 1]; /* not yet in the spool */
	struct shipper_state state;
	struct wire_section_status *sections; /* WIRE_SECTIONS_MAX, for replies */
	struct buf payload;
	struct buf message;
	struct buf unpacked;
};

/* ---- lifecycle ---- */

static void delivery_end_session(struct delivery *delivery)
{
	delivery->session = 0;
	dict_free(delivery->dict);
	delivery->dict = NULL;
}

int delivery_new(struct delivery_options options, struct delivery **ret_delivery, char *ret_error,
        size_t error_bytes)
{
	AUTO(delivery) delivery = calloc(1, sizeof(*delivery));
	const struct shipper_options *shipper = &options.shipper;
	struct spool_options spool = {
		.path = shipper->spool_path,
		.bytes_max = shipper->spool_bytes_max,
		.memory_bytes_max = shipper->spool_memory_bytes_max,
		.uuid = shipper->uuid,
		.epoch = shipper->epoch,
		.tenant = shipper->tenant,
	};
	uint64_t seed = shipper->seed;

	if (!delivery)
		return -ENOMEM;
	delivery->options = options;
	delivery->sections = calloc(WIRE_SECTIONS_MAX, sizeof(*delivery->sections));
	if (!delivery->sections)
		return -ENOMEM;
	if (seed == 0 && rng_os_bytes(&seed, sizeof(seed)) < 0)
		seed = shipper->epoch;
	rng_init(&delivery->rng, seed);
	int result = spool_open(spool, &delivery->spool, ret_error, error_bytes);
	if (result < 0)
		return result;
	struct spool_state opened = spool_state(delivery->spool);
	delivery->state.samples_inherited = opened.samples + opened.broken_samples;
	delivery->due_ns = clock_monotonic_ns(shipper->clock);
	*ret_delivery = TAKE(delivery);
	return 0;
}

void delivery_free(struct delivery *delivery)
{
	if (!delivery)
		return;
	delivery_end_session(delivery);
	spool_free(delivery->spool);
	free(delivery->sections);
	buf_fini(&delivery->payload);
	buf_fini(&delivery->message);
	buf_fini(&delivery->unpacked);
	free(delivery);
}

/* ---- in ---- */

void delivery_losses_add(
        struct delivery_losses *losses, const struct batch *batch, enum loss_reason reason)
{
	losses->ours[reason] += batch_samples(batch);
	for (uint32_t i = 0; i < batch->losses_count; i++) {
		uint32_t known = batch->losses[i].reason;

		losses->earlier[known <= LOSS_REASON_MAX ? known : LOSS_MALFORMED] +=
		        batch->losses[i].count;
	}
}

void delivery_add_losses(struct delivery *delivery, const struct delivery_losses *losses)
{
	for (uint32_t i = 0; i <= LOSS_REASON_MAX; i++) {
		delivery->pending[i] += losses->ours[i] + losses->earlier[i];
		delivery->state.lost[i] += losses->ours[i];
	}
}

void delivery_add(struct delivery *delivery, const uint8_t *bytes, size_t count)
{
	int result = spool_add_encoded(delivery->spool, bytes, count);

	if (result == 0)
		return;
	/* No memory. Counting takes less of it than keeping, and may still work. */
	struct delivery_losses losses = { 0 };
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	struct reader reader = reader_of(bytes, count);
	if (!batch || batch_decode_whole(batch, &reader) < 0) {
		log_error("batch-uncounted",
		        "out of memory: a batch is lost and could not even be counted");
		return;
	}
	delivery_losses_add(&losses, batch, LOSS_AGENT_MEMORY);
	delivery_add_losses(delivery, &losses);
}

static void delivery_spool_losses(struct delivery *delivery)
{
	if (spool_add_losses(delivery->spool, clock_unix_ns(delivery->options.shipper.clock), 0,
	            delivery->pending) == 0)
		memset(delivery->pending, 0, sizeof(delivery->pending));
}

/* ---- waiting ---- */

/* Later, the longer it has been so; at least what the aggregator asked for. */
static void delivery_wait(struct delivery *delivery, uint64_t at_least_ns)
{
	double jitter = 0.5 + rng_fraction(&delivery->rng);

	delivery->wait_ns = delivery->wait_ns == 0 ? DELIVERY_WAIT_FIRST_NS : 2 * delivery->wait_ns;
	if (delivery->wait_ns > DELIVERY_WAIT_MAX_NS)
		delivery->wait_ns = DELIVERY_WAIT_MAX_NS;
	uint64_t wait_ns = delivery->wait_ns > at_least_ns ? delivery->wait_ns : at_least_ns;
	if (delivery->hurry && wait_ns > DELIVERY_WAIT_HURRY_NS)
		wait_ns = DELIVERY_WAIT_HURRY_NS;
	delivery->due_ns = clock_monotonic_ns(delivery->options.shipper.clock) +
	                   (uint64_t)((double)wait_ns * jitter);
}

static void delivery_go_on(struct delivery *delivery)
{
	delivery->wait_ns = 0;
	delivery->due_ns = clock_monotonic_ns(delivery->options.shipper.clock);
	if (delivery->quiet)
		log_info("aggregator-back", "%s: batches are delivered again",
		        delivery->options.shipper.address);
	delivery->quiet = false;
}

void delivery_hurry(struct delivery *delivery)
{
	uint64_t soon_ns = clock_monotonic_ns(delivery->options.shipper.clock);

	delivery->hurry = true;
	if (delivery->due_ns > soon_ns)
		delivery->due_ns = soon_ns;
}

/* Once per trouble, however long it lasts. */
static void delivery_say(
        struct delivery *delivery, const char *id, const char *what, struct wire_text why)
{
	if (delivery->quiet)
		return;
	log_warn(id, "%s: %s%s%.*s; batches wait in the spool", delivery->options.shipper.address,
	        what, why.count ? ": " : "", (int)why.count, why.count ? why.bytes : "");
	delivery->quiet = true;
}

/* ---- exchanges ---- */

/*
 * Seals what is in payload, and opens the reply. The message borrows from delivery->unpacked until
 * the next exchange. Negative: there is no usable reply, and nobody knows what the aggregator made
 * of it.
 */
static int delivery_exchange(struct delivery *delivery, enum wire_kind kind, uint32_t timeout_ms,
        struct wire_message *ret_message)
{
	struct shipper_transport *transport = delivery->options.shipper.transport;
	autofree uint8_t *reply = NULL;
	size_t count = 0;

	if (delivery->payload.failed)
		return -ENOMEM;
	buf_reset(&delivery->message);
	wire_seal(kind, &delivery->payload, &delivery->message);
	if (delivery->message.failed)
		return -ENOMEM;
	int result = transport->call(transport, delivery->message.bytes, delivery->message.count,
	        timeout_ms, &reply, &count);
	delivery->state.bytes_sent += delivery->message.count;
	if (result == 0) {
		buf_reset(&delivery->unpacked);
		result = wire_open(reply, count, &delivery->unpacked, ret_message);
	}
	delivery->state.connected = result == 0;
	return result;
}

static void delivery_fail(struct delivery *delivery, int result)
{
	const char *what = strerror(-result);

	delivery->state.failures++;
	delivery_say(delivery, "aggregator-unreachable", "no usable reply",
	        (struct wire_text){ .bytes = what, .count = (uint32_t)strlen(what) });
	delivery_end_session(delivery);
	delivery_wait(delivery, 0);
}

/* The refusal of a whole message: nothing of it was kept, and no dictionary either. */
static void delivery_refused(
        struct delivery *delivery, uint32_t status, uint32_t retry_ms, struct wire_text why)
{
	uint64_t at_least_ns = retry_ms * NS_PER_MS;

	delivery_end_session(delivery);
	delivery->state.resets += status == WIRE_RESET;
	switch (status) {
	case WIRE_RESET:
		/* Once is how an aggregator's restart looks; more is not. */
		if (delivery->refusals++ == 0 && retry_ms == 0)
			return;
		break;
	case WIRE_BUSY:
		delivery_say(delivery, "aggregator-busy", wire_status_name(status), why);
		break;
	case WIRE_TOO_NEW:
	case WIRE_INVALID:
		at_least_ns = DELIVERY_WAIT_LONG_NS;
		delivery_say(delivery, "aggregator-version",
		        "it speaks another version of the protocol", why);
		break;
	default:
		delivery->refusals++;
		delivery_say(delivery, "aggregator-refuses", wire_status_name(status), why);
	}
	delivery_wait(delivery, at_least_ns);
}

/* The reply is no answer to what was asked: a STATUS is a refusal, all else is nonsense. */
static void delivery_no_answer(struct delivery *delivery, struct wire_message *message)
{
	struct wire_status_reply status;

	if (message->kind != WIRE_STATUS || wire_get_status(&message->payload, &status) < 0) {
		delivery_fail(delivery, -EPROTO);
		return;
	}
	delivery_refused(delivery, status.status == WIRE_OK ? WIRE_FAILED : status.status,
	        status.retry_ms, status.text);
}

static struct wire_text delivery_text(const char *text)
{
	return (struct wire_text){ .bytes = text ? text : "",
		.count = text ? (uint32_t)strlen(text) : 0 };
}

static bool delivery_start_session(struct delivery *delivery, const struct wire_hello_reply *reply)
{
	struct dict_limits limits = dict_limits_default;

	if (reply->version != WIRE_VERSION || reply->session == 0 || reply->shards == 0 ||
	        reply->shards > WIRE_SHARDS_MAX)
		return false;
	delivery->push_bytes_max = reply->push_bytes_max < WIRE_UNPACKED_BYTES_MAX
	                                   ? reply->push_bytes_max
	                                   : WIRE_UNPACKED_BYTES_MAX;
	if (delivery->push_bytes_max < DELIVERY_PUSH_BYTES_MIN)
		delivery->push_bytes_max = DELIVERY_PUSH_BYTES_MIN;
	delivery->nodes_max = reply->nodes_max && reply->nodes_max < DELIVERY_NODES_MAX
	                              ? reply->nodes_max
	                              : DELIVERY_NODES_MAX;
	limits.nodes = delivery->nodes_max;
	delivery->dict = dict_new(limits);
	/* -ENOMEM leaves some entries for the next session to divide. */
	if (!delivery->dict ||
	        spool_fit(delivery->spool, reply->shards, delivery->push_bytes_max / 2) < 0)
		return false;
	delivery->session = reply->session;
	delivery->session_known = dict_mark(delivery->dict);
	delivery->request = 0;
	return true;
}

static void delivery_hello(struct delivery *delivery, uint32_t timeout_ms)
{
	const struct shipper_options *shipper = &delivery->options.shipper;
	struct wire_hello hello = {
		.version_min = WIRE_VERSION,
		.version_max = WIRE_VERSION,
		.role = WIRE_ROLE_AGENT,
		.uuid = shipper->uuid,
		.epoch = shipper->epoch,
		.host = delivery_text(shipper->host),
		.program = delivery_text(shipper->program),
		.tenant = delivery_text(shipper->tenant),
	};
	struct wire_message message;
	struct wire_hello_reply reply;

	buf_reset(&delivery->payload);
	wire_put_hello(&hello, &delivery->payload);
	int result = delivery_exchange(delivery, WIRE_HELLO,
	        timeout_ms < DELIVERY_HELLO_MS ? timeout_ms : DELIVERY_HELLO_MS, &message);
	if (result != 0) {
		delivery_fail(delivery, result);
		return;
	}
	if (message.kind != WIRE_HELLO_REPLY) {
		delivery_no_answer(delivery, &message);
		return;
	}
	if (wire_get_hello_reply(&message.payload, &reply) < 0 ||
	        !delivery_start_session(delivery, &reply)) {
		delivery_fail(delivery, -EPROTO);
		return;
	}
	delivery->state.clock_offset_ns = (int64_t)(reply.unix_ns - clock_unix_ns(shipper->clock));
	/* A session proves little: only a batch that was taken ends the waiting. */
	delivery->due_ns = clock_monotonic_ns(shipper->clock);
}

/* ---- push ---- */

struct delivery_push {
	struct spool_entry entries[DELIVERY_SECTIONS_MAX];
	struct batch *batches[DELIVERY_SECTIONS_MAX]; /* in the session's dict */
	uint32_t count;                               /* of both: those that go */
};

static void delivery_push_free(struct delivery_push *push)
{
	for (uint32_t i = 0; push && i < push->count; i++)
		batch_free(push->batches[i]);
	free(push);
}
DEFINE_AUTO(delivery_push);

/*
 * The entry's batch in the session's dict. -ENOSPC: the session is full; the dict is as before.
 * -EBADMSG: no batch at all.
 */
static int delivery_translate(
        struct delivery *delivery, const struct spool_entry *entry, struct batch **ret_batch)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) own = dict ? batch_new(dict) : NULL;
	AUTO(batch) batch = batch_new(delivery->dict);
	struct dict_mark before = dict_mark(delivery->dict);
	struct reader reader = reader_of(entry->bytes, entry->count);

	if (!own || !batch)
		return -ENOMEM;
	int result = batch_decode_whole(own, &reader);
	if (result < 0)
		return result;
	result = batch_merge(batch, own);
	if (result < 0) {
		dict_truncate(delivery->dict, before);
		return result;
	}
	*ret_batch = TAKE(batch);
	return 0;
}

/*
 * As many of the entries as fit, in the session's dict. What can never be sent leaves the spool as
 * a loss. -ENOSPC: not even one, in a session that knows things already: start a new one.
 */
static int delivery_fill(
        struct delivery *delivery, struct delivery_push *push, uint32_t entries_count)
{
	for (uint32_t i = 0; i < entries_count; i++) {
		struct spool_entry entry = push->entries[i];
		struct batch *batch;
		int result = delivery_translate(delivery, &entry, &batch);

		if (result == 0) {
			push->entries[push->count] = entry;
			push->batches[push->count++] = batch;
			continue;
		}
		if (result == -ENOMEM)
			return push->count > 0 ? 0 : result;
		if (result == -ENOSPC && push->count > 0)
			return 0;
		if (result == -ENOSPC && delivery->session_known.nodes > 1)
			return result;
		/* Whatever it is, another try would meet it again. */
		log_error("batch-unsendable", "%llu samples are lost: %s",
		        (unsigned long long)entry.samples,
		        result == -ENOSPC ? "more stacks than a session holds" : "not a batch");
		/* The spool counts what it cannot read itself. */
		if (result == -ENOSPC)
			delivery->state.lost[LOSS_REJECTED] += entry.samples;
		spool_reject(delivery->spool, entry.handle,
		        result == -ENOSPC ? LOSS_REJECTED : LOSS_MALFORMED);
		return -EAGAIN; /* The other entries were borrowed until now. */
	}
	return push->count > 0 ? 0 : -EAGAIN;
}

static void delivery_put_push(struct delivery *delivery, const struct delivery_push *push)
{
	const struct shipper_callbacks *callbacks = &delivery->options.shipper.callbacks;
	struct shipper_state state = delivery_state(delivery);
	struct wire_push header = {
		.session = delivery->session,
		.request = delivery->request + 1,
		.sections_count = push->count,
	};

	if (callbacks->state)
		callbacks->state(callbacks->owner, &header.state);
	header.state.samples_sent = state.samples_sent;
	header.state.spool_samples = state.spool.samples;
	header.state.spool_bytes = state.spool.bytes;
	for (uint32_t i = 0; i <= LOSS_REASON_MAX; i++)
		header.state.lost[i] += state.lost[i];

	buf_reset(&delivery->payload);
	wire_put_push(&header, delivery->dict, delivery->session_known, &delivery->payload);
	for (uint32_t i = 0; i < push->count; i++) {
		const struct spool_entry *entry = &push->entries[i];
		struct wire_section section = {
			.shard = entry->shard,
			.uuid = entry->uuid,
			.epoch = entry->epoch,
			.seq = entry->seq,
		};

		wire_put_section(&section, push->batches[i], &delivery->payload);
	}
}

/* Whether each status answers its section. */
static bool delivery_matches(const struct delivery_push *push, const struct wire_push_reply *reply)
{
	if (reply->sections_count != push->count)
		return false;
	for (uint32_t i = 0; i < push->count; i++) {
		if (reply->sections[i].shard != push->entries[i].shard ||
		        reply->sections[i].seq != push->entries[i].seq)
			return false;
	}
	return true;
}

static void delivery_reject(struct delivery *delivery, const struct spool_entry *entry,
        uint32_t status, struct wire_text why)
{
	log_warn("batch-refused", "%s: %s: %.*s: %llu samples are lost",
	        delivery->options.shipper.address, wire_status_name(status), (int)why.count,
	        why.count ? why.bytes : "", (unsigned long long)entry->samples);
	delivery->state.lost[LOSS_REJECTED] += entry->samples;
	spool_reject(delivery->spool, entry->handle, LOSS_REJECTED);
}

/* What the aggregator made of each section. */
static void delivery_settle(struct delivery *delivery, const struct delivery_push *push,
        const struct wire_push_reply *reply)
{
	uint64_t at_least_ns = 0;
	bool wait = false;
	bool done = false;

	for (uint32_t i = 0; i < push->count; i++) {
		const struct wire_section_status *section = &reply->sections[i];
		const struct spool_entry *entry = &push->entries[i];

		switch (section->status) {
		case WIRE_OK:
		case WIRE_DUP:
			delivery->state.samples_sent += entry->samples;
			spool_done(delivery->spool, entry->handle);
			done = true;
			continue;
		case WIRE_REJECT:
		case WIRE_MALFORMED:
			delivery_reject(delivery, entry, section->status, section->reason);
			done = true;
			continue;
		case WIRE_NOT_OWNER:
		case WIRE_RESET:
			/* A new HELLO brings the map, or the session. */
			delivery_end_session(delivery);
			break;
		case WIRE_TOO_NEW:
			at_least_ns = DELIVERY_WAIT_LONG_NS;
			break;
		default:
			break;
		}
		if (section->retry_ms * NS_PER_MS > at_least_ns)
			at_least_ns = section->retry_ms * NS_PER_MS;
		delivery_say(delivery, "aggregator-busy", wire_status_name(section->status),
		        section->reason);
		wait = true;
	}
	if (wait)
		delivery_wait(delivery, at_least_ns);
	else if (done)
		delivery_go_on(delivery);
}

/*
 * A message that is refused again and again, alone in a session of its own, will never be taken:
 * the entry is at fault, and must not hold up the others for ever.
 */
static void delivery_note_refusal(
        struct delivery *delivery, const struct delivery_push *push, uint32_t status)
{
	const struct spool_entry *entry = &push->entries[0];

	if (status != WIRE_MALFORMED || push->count != 1)
		return;
	if (delivery->refused_handle != entry->handle) {
		delivery->refused_handle = entry->handle;
		delivery->refusals = 1;
	}
	if (delivery->refusals >= DELIVERY_REFUSALS_MAX) {
		delivery_reject(
		        delivery, entry, status, delivery_text("refused in a session of its own"));
		delivery->refusals = 0;
	}
}

static void delivery_reply(
        struct delivery *delivery, const struct delivery_push *push, struct wire_message *message)
{
	struct wire_push_reply reply = { .sections = delivery->sections };

	if (message->kind == WIRE_STATUS) {
		struct reader again = message->payload;
		struct wire_status_reply status;

		delivery_no_answer(delivery, message);
		if (wire_get_status(&again, &status) == 0)
			delivery_note_refusal(delivery, push, status.status);
		return;
	}
	if (message->kind != WIRE_PUSH_REPLY ||
	        wire_get_push_reply(&message->payload, &reply) < 0) {
		delivery_fail(delivery, -EPROTO);
		return;
	}
	if (reply.status != WIRE_OK) {
		delivery_refused(delivery, reply.status, reply.retry_ms, reply.reason);
		delivery_note_refusal(delivery, push, reply.status);
		return;
	}
	if (!delivery_matches(push, &reply)) {
		delivery_fail(delivery, -EPROTO);
		return;
	}

	delivery->refusals = 0;
	delivery->request++;
	delivery->session_known = dict_mark(delivery->dict);
	delivery->state.pushes++;
	for (uint32_t i = 0; i < reply.wanted_count && delivery->options.wanted; i++)
		delivery->options.wanted(delivery->options.wanted_owner, reply.wanted[i].bytes,
		        reply.wanted[i].count);
	delivery_settle(delivery, push, &reply);
}

static void delivery_push(struct delivery *delivery, uint32_t timeout_ms)
{
	uint64_t bytes_max = delivery->push_bytes_max / 4 * 3;
	/* After a refusal one at a time, until it is known whose fault it is. */
	uint32_t entries_max = delivery->refusals > 0 ? 1 : DELIVERY_SECTIONS_MAX;

	for (;; entries_max /= 2) {
		AUTO(delivery_push) push = calloc(1, sizeof(*push));
		struct wire_message message;

		if (!push) {
			delivery_wait(delivery, 0);
			return;
		}
		int count = spool_take(delivery->spool, push->entries, entries_max, bytes_max);
		if (count == 0) {
			delivery->due_ns = DELIVERY_IDLE;
			return;
		}
		int result = count < 0 ? count : delivery_fill(delivery, push, (uint32_t)count);
		if (result == -EAGAIN)
			return;
		if (result == -ENOSPC) {
			delivery_end_session(delivery);
			return;
		}
		if (result < 0) {
			delivery_wait(delivery, 0);
			return;
		}

		delivery_put_push(delivery, push);
		if (delivery->payload.count > delivery->push_bytes_max && push->count > 1) {
			dict_truncate(delivery->dict, delivery->session_known);
			entries_max = push->count;
			continue;
		}
		result = delivery_exchange(delivery, WIRE_PUSH, timeout_ms, &message);
		if (result != 0)
			delivery_fail(delivery, result);
		else
			delivery_reply(delivery, push, &message);
		return;
	}
}

uint64_t delivery_step(struct delivery *delivery, uint32_t timeout_ms)
{
	delivery_spool_losses(delivery);
	if (delivery->due_ns == DELIVERY_IDLE && spool_state(delivery->spool).entries > 0)
		delivery->due_ns = 0;
	if (clock_monotonic_ns(delivery->options.shipper.clock) < delivery->due_ns)
		return delivery->due_ns;

	if (delivery->session && dict_memory(delivery->dict) > DELIVERY_DICT_BYTES)
		delivery_end_session(delivery);
	if (!delivery->session)
		delivery_hello(delivery, timeout_ms);
	else
		delivery_push(delivery, timeout_ms);
	return delivery->due_ns;
}

bool delivery_is_done(const struct delivery *delivery)
{
	for (uint32_t i = 1; i <= LOSS_REASON_MAX; i++) {
		if (delivery->pending[i])
			return false;
	}
	return spool_state(delivery->spool).entries == 0;
}

struct shipper_state delivery_state(const struct delivery *delivery)
{
	struct shipper_state state = delivery->state;

	state.spool = spool_state(delivery->spool);
	state.lost[LOSS_SPOOL_FULL] += state.spool.dropped_samples;
	state.lost[LOSS_MALFORMED] += state.spool.broken_samples;
	return state;
}
