//! Memory that is registered with the kernel.

use safer_ring_buf::PoolMemory;
use safer_ring_sys::Errno;

use super::Driver;
use crate::backend::Backend;
use crate::fd::Guard;

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Lets reads and writes name this memory.
    pub(crate) fn register_memory(&mut self, memory: &PoolMemory) -> Result<(), Errno> {
        if self.is_ours() { self.backend.register_memory(memory) } else { Err(Errno::OPNOTSUPP) }
    }

    /// Undoes that, when no operation can name it any more.
    pub(crate) fn unregister_memory(&mut self, memory: &PoolMemory) -> Result<(), Errno> {
        if !self.is_ours() {
            return Err(Errno::OPNOTSUPP);
        }
        // The members of a chain name it before the kernel looks at them.
        if memory.taken() > 0 {
            return Err(Errno::BUSY);
        }
        self.flush();
        self.backend.unregister_memory(memory)
    }
}
