// @ts-check
/** The jobs of a regression: those that live, what failed and how often, and all of them. */

/** @import {RegressionActions, RegressionData, RegressionState} from "./types.js" */

import { mountTable } from "./jobs-all.js";
import { mountLive } from "./jobs-live.js";
import { mountSignatures } from "./jobs-signatures.js";
import { commonDomain } from "./model-job.js";
import { mount } from "./parts.js";

/**
 * See regression.js for the actions.
 * @param {HTMLElement} host
 * @param {RegressionActions} actions
 * @returns {(state: RegressionState) => void}
 */
export function mountJobs(host, actions) {
  const parts = mount(host, "tab-jobs");
  const paints = [mountLive(parts, actions), mountSignatures(parts, actions), mountTable(parts, actions)];
  return (state) => {
    const domain = commonDomain(hostsOf(state.data));
    paints.forEach((paint) => paint({ ...state, domain }));
  };
}

/** All hosts that the tables may name. @param {RegressionData} given */
function hostsOf({ live, signatures, jobs }) {
  const failing = (signatures?.items ?? []).flatMap((item) => item.hosts ?? []);
  return [...live.hosts(), ...failing.map(({ host }) => host), ...(jobs?.items ?? []).map(({ host }) => host)];
}
