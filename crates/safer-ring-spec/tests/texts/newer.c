/* Made up for tests: the newer generation of the grammar, and what a tree has besides. */

/** one_line - not a specification */

/**
 * sys_reckon - Adds up what is in a buffer
 * @buf: The numbers
 * @count: How many bytes they are
 * @mode: How to add
 *
 * contexts: process, softirq
 *
 * param: buf
 *   type: user_ptr, input
 *   constraint-type: buffer(1)
 *   cdesc: Readable for count bytes.
 *
 * param: count
 *   type: uint, input
 *   constraint-type: range(0, SIZE_MAX)
 *
 * param: mode
 *   type: int, input
 *   constraint-type: enum(MODE_SUM, MODE_XOR)
 *   arch-mask: x86 = MODE_FAST
 *   arch-mask: arm64 = MODE_WIDE
 *
 * return:
 *   type: int
 *   check-type: range
 *   success: >= 0
 *
 * error: EFAULT, The buffer cannot be read
 * error: EOVERFLOW, The sum is too large
 *   condition: mode == MODE_SUM
 *
 * lock: sums, spinlock
 *
 * signal: SIGFPE
 *   direction: send
 *   number: SIGFPE
 *   action: coredump
 *   errno: EINTR
 *   interruptible: no
 *
 * side-effect: alloc_memory, the accumulator, One page for the time of the call
 *
 * capability: CAP_SYS_NICE
 *   type: increase_limit
 *   allows: more than 1024 numbers
 *   without: EINVAL
 *   priority: 1
 */
SYSCALL_DEFINE3(reckon, const void __user *, buf, size_t, count, int, mode)
{
	return 0;
}

/**
 * sys_idle - Does nothing, thoroughly
 *
 * contexts: process
 *
 * param-count: 0
 * return:
 *   check-type: no_return
 * constraint: Patience, Nothing ever happens
 */
SYSCALL_DEFINE0(idle)
