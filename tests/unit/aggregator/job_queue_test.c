/* job_queue: order, bounds, and an end that loses no job. */

#include "aggregator/job_queue.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

/* Requests are only carried: any distinct pointers will do. */
static struct net_request *request_of(uintptr_t number)
{
	return (struct net_request *)number;
}

static void jobs_come_out_in_order_with_their_bytes(void **state)
{
	(void)state;
	AUTO(job_queue) queue = job_queue_new(1000, 3);
	assert_true(queue);
	CHECK_OK(job_queue_add(queue, request_of(8), (const uint8_t *)"ab", 2));
	CHECK_OK(job_queue_add(queue, request_of(16), (const uint8_t *)"", 0));

	struct job jobs[4];
	assert_true(job_queue_take(queue, jobs, 4) == 2);
	assert_true(jobs[0].request == request_of(8) && jobs[0].count == 2);
	assert_true(memcmp(jobs[0].bytes, "ab", 2) == 0);
	assert_true(jobs[1].request == request_of(16) && jobs[1].count == 0);
	free(jobs[0].bytes);
	free(jobs[1].bytes);
}

static void a_full_queue_refuses_by_number_and_by_bytes(void **state)
{
	(void)state;
	AUTO(job_queue) queue = job_queue_new(10, 2);
	uint8_t bytes[16] = { 0 };
	struct job jobs[2];

	/* One that is larger than the bound still enters an empty queue: it could never otherwise.
	 */
	CHECK_OK(job_queue_add(queue, request_of(8), bytes, 16));
	assert_true(job_queue_add(queue, request_of(16), bytes, 1) == -EBUSY);
	assert_true(job_queue_take(queue, jobs, 2) == 1);
	free(jobs[0].bytes);

	CHECK_OK(job_queue_add(queue, request_of(8), bytes, 1));
	CHECK_OK(job_queue_add(queue, request_of(16), bytes, 1));
	assert_true(job_queue_add(queue, request_of(24), bytes, 1) == -EBUSY);
	assert_true(job_queue_state(queue).refused == 2);
	assert_true(job_queue_state(queue).bytes == 2);
	assert_true(job_queue_take(queue, jobs, 2) == 2);
	free(jobs[0].bytes);
	free(jobs[1].bytes);
}

static void a_closed_queue_gives_what_it_has_and_then_nothing(void **state)
{
	(void)state;
	AUTO(job_queue) queue = job_queue_new(10, 2);
	struct job jobs[2];
	CHECK_OK(job_queue_add(queue, request_of(8), (const uint8_t *)"x", 1));
	job_queue_close(queue);
	assert_true(job_queue_add(queue, request_of(16), (const uint8_t *)"y", 1) == -EBUSY);
	assert_true(job_queue_take(queue, jobs, 2) == 1);
	free(jobs[0].bytes);
	assert_true(job_queue_take(queue, jobs, 2) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_come_out_in_order_with_their_bytes),
		cmocka_unit_test(a_full_queue_refuses_by_number_and_by_bytes),
		cmocka_unit_test(a_closed_queue_gives_what_it_has_and_then_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
