//! The kernel rings of a shared ring, and the memory that each of them registers, those included that are made later.

use std::sync::Arc;

use safer_ring_buf::PoolMemory;

use super::{SharedCell, SharedRing, lock};

#[derive(Default)]
pub(super) struct Cells {
    pub(super) all: Vec<Arc<SharedCell>>,
    /// Those whose thread has ended.
    pub(super) free: Vec<Arc<SharedCell>>,
    /// What each of them is to register.
    memory: Vec<PoolMemory>,
}

impl SharedRing {
    /// Memory that kernel rings register which are made from now on, or no longer do.
    pub(crate) fn keep_memory(&self, memory: &PoolMemory, keep: bool) {
        let mut cells = lock(&self.cells);
        cells.memory.retain(|other| other != memory && !other.is_over());
        if keep {
            cells.memory.push(memory.clone());
        }
    }
}

impl Cells {
    /// Registers it with a kernel ring that has just been made.
    pub(super) fn register_with(&self, cell: &SharedCell) {
        if let Some(driver) = &mut lock(&cell.state).driver {
            for memory in &self.memory {
                // Without it its operations work as well. The first ring has told whoever asked of what is in the way.
                let _ = driver.register_memory(memory);
            }
        }
    }
}
