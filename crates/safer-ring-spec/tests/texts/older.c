/* Made up for tests: the older generation of the grammar. */
#include "frob.h"

/**
 * helper - no specification: nothing says from where it may be called
 * @x: a number
 *
 * Note: error: is just a word here.
 */
static int helper(int x);

/**
 * sys_frobnicate - Turns the knob of a device
 * @fd: The device
 * @knob: Which knob
 * @path: Where the log goes; may be null
 *
 * long-desc: Turns a knob. Knobs are counted
 *   from 0.
 *
 *   What happens depends on the device:
 *   - a lamp becomes
 *     brighter
 *   - a pump runs faster
 *
 * context-flags: KAPI_CTX_PROCESS | KAPI_CTX_SLEEPABLE
 *
 * param: fd
 *   type: KAPI_TYPE_FD
 *   flags: KAPI_PARAM_IN
 *   constraint-type: KAPI_CONSTRAINT_RANGE
 *   range: 0, INT_MAX
 *   constraint: Has to be a device; error: is prose in this line.
 *
 * param: knob
 *   type: KAPI_TYPE_UINT
 *   flags: KAPI_PARAM_IN
 *   constraint-type: KAPI_CONSTRAINT_MASK
 *   valid-mask: KNOB_LEFT | KNOB_RIGHT
 *   size: sizeof(struct knob)
 *
 * param: path
 *   type: KAPI_TYPE_PATH
 *   flags: KAPI_PARAM_IN | KAPI_PARAM_USER | KAPI_PARAM_OPTIONAL
 *   constraint-type: KAPI_CONSTRAINT_USER_PATH
 *
 * return:
 *   type: KAPI_TYPE_INT
 *   check-type: KAPI_RETURN_ERROR_CHECK
 *   success: 0
 *   error-values: -EINVAL, -EIO
 *   desc: 0 when the knob has been turned.
 *
 * error: EINVAL, There is no such knob
 *   desc: Only some devices
 *     have more than two.
 *
 * error: EINVAL, The device has no knobs
 *
 * error: (driver-specific), Whatever the driver says
 *
 * lock: device->mutex
 *   type: KAPI_LOCK_MUTEX
 *   acquired: true
 *   released: true
 *   desc: Held while the knob turns.
 *
 * signal: any
 *   direction: KAPI_SIGNAL_RECEIVE
 *   action: KAPI_SIGNAL_ACTION_RETURN
 *   error: -EINTR (if nothing has been turned)
 *   timing: KAPI_SIGNAL_TIME_DURING
 *   restartable: yes
 *
 * side-effect: KAPI_EFFECT_HARDWARE | KAPI_EFFECT_MODIFY_STATE
 *   target: the knob
 *   reversible: yes
 *
 * state-trans: lamp, dark, bright, The lamp is turned up
 *
 * capability: CAP_SYS_RAWIO, KAPI_CAP_PERFORM_OPERATION, Raw access
 *
 * constraint: Exclusive use
 *   expr: users == 1
 *
 * mood: cheerful
 *   reason: nobody knows
 *
 * examples: frobnicate(fd, KNOB_LEFT, NULL);
 *   if (failed) {
 *       retry();
 *   }
 *
 * notes: There is no wrapper.
 *
 * since-version: 9.1
 */
SYSCALL_DEFINE3(frobnicate, int, fd, unsigned int, knob,
		const char __user *, path)
