//! Memory and table budgets of one instance: wasmtime asks, this answers. Never traps by itself: a refused `memory.grow`
//! answers -1, as the specification has it, and what the guest makes of that decides how its call ends.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::common::{Common, Limit};
use crate::limits::InstanceLimits;

/// What an instance holds, what it may hold, and the last thing it was refused.
#[derive(Debug)]
pub(crate) struct ResourceBudget {
    common: Arc<Common>,
    memory_bytes: u64,
    memory_bytes_max: u64,
    table_elements: u64,
    table_elements_max: u64,
    core_instances_max: usize,
    /// What the last granted growth added, to take back if it fails after all.
    memory_bytes_pending: u64,
    table_elements_pending: u64,
    memory_bytes_refused: Option<u64>,
}

impl ResourceBudget {
    pub(crate) fn new(common: Arc<Common>, limits: &InstanceLimits) -> Self {
        Self {
            common,
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            table_elements: 0,
            table_elements_max: u64::from(limits.table_elements_max),
            core_instances_max: limits.core_instances_max as usize,
            memory_bytes_pending: 0,
            table_elements_pending: 0,
            memory_bytes_refused: None,
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// What all memories together would have been, had the last refusal since [`Self::forget_refusals`] been granted.
    pub(crate) fn memory_bytes_refused(&self) -> Option<u64> {
        self.memory_bytes_refused
    }

    pub(crate) fn forget_refusals(&mut self) {
        self.memory_bytes_refused = None;
    }
}

impl Drop for ResourceBudget {
    fn drop(&mut self) {
        self.common.give_memory_back(self.memory_bytes);
    }
}

impl ResourceLimiter for ResourceBudget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false); // the guest's own declared maximum: none of our business
        }
        let added = desired.saturating_sub(current) as u64;
        let total = self.memory_bytes.saturating_add(added);
        if total > self.memory_bytes_max {
            self.memory_bytes_refused = Some(total);
            self.common.count_refused(Limit::Memory);
            return Ok(false);
        }
        self.memory_bytes = total;
        self.common.take_memory(added);
        self.memory_bytes_pending = added;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        let added = std::mem::take(&mut self.memory_bytes_pending);
        self.memory_bytes -= added;
        self.common.give_memory_back(added);
        tracing::debug!(error = format!("{error:#}"), "a plugin's memory did not grow");
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current) as u64;
        let total = self.table_elements.saturating_add(added);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if total > self.table_elements_max {
            self.common.count_refused(Limit::TableElements);
            return Ok(false);
        }
        self.table_elements = total;
        self.table_elements_pending = added;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_elements -= std::mem::take(&mut self.table_elements_pending);
        tracing::debug!(error = format!("{error:#}"), "a plugin's table did not grow");
        Ok(())
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }

    fn tables(&self) -> usize {
        self.core_instances_max
    }

    fn memories(&self) -> usize {
        self.core_instances_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 << 10;

    fn budget(pages: u64) -> ResourceBudget {
        let limits = InstanceLimits {
            memory_bytes_max: pages * PAGE as u64,
            table_elements_max: 10,
            ..InstanceLimits::default()
        };
        ResourceBudget::new(Arc::default(), &limits)
    }

    #[test]
    fn all_memories_of_an_instance_share_one_budget() {
        let mut budget = budget(4);
        assert!(budget.memory_growing(0, 3 * PAGE, None).expect("no trap"));
        assert!(!budget.memory_growing(0, 2 * PAGE, None).expect("no trap"), "the second memory takes it over");
        assert_eq!(budget.memory_bytes_refused(), Some(5 * PAGE as u64));
        assert_eq!(budget.memory_bytes(), 3 * PAGE as u64);
    }

    #[test]
    fn a_growth_that_fails_after_all_is_given_back() {
        let mut budget = budget(4);
        assert!(budget.memory_growing(0, 3 * PAGE, None).expect("no trap"));
        budget.memory_grow_failed(wasmtime::Error::msg("no address space")).expect("no trap");
        assert_eq!((budget.memory_bytes(), budget.common.memory_bytes()), (0, 0));
    }

    #[test]
    fn what_an_instance_held_is_given_back_when_it_ends() {
        let (mut one, limits) = (budget(4), InstanceLimits::default());
        let mut other = ResourceBudget::new(Arc::clone(&one.common), &limits);
        for (budget, pages) in [(&mut one, 3), (&mut other, 2)] {
            assert!(budget.memory_growing(0, pages * PAGE, None).expect("no trap"));
        }
        assert_eq!(one.common.memory_bytes(), 5 * PAGE as u64);
        drop(other);
        assert_eq!(one.common.memory_bytes(), 3 * PAGE as u64);
    }

    #[test]
    fn a_guests_own_maximum_is_not_reported_as_our_limit() {
        let mut budget = budget(4);
        assert!(!budget.memory_growing(0, 2 * PAGE, Some(PAGE)).expect("no trap"));
        assert_eq!(budget.memory_bytes_refused(), None);
    }

    #[test]
    fn tables_share_one_budget_too() {
        let mut budget = budget(1);
        assert!(budget.table_growing(0, 8, None).expect("no trap"));
        assert!(!budget.table_growing(0, 3, None).expect("no trap"));
        assert!(budget.table_growing(8, 10, None).expect("no trap"));
    }
}
