/** Makes, finds and changes elements, and shows that a part of the page failed. */

import { text } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
export const root = document.documentElement;

/** @param {string} name @returns {HTMLElement} */
export const component = (name) => find(document, `[data-component="${name}"]`);

/**
 * An element with attributes (null leaves one out, a function listens) and children.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node | string | null)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value != null && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** @param {Element} element @param {string} name @param {string | number | null} value null removes it */
export function set(element, name, value) {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** @param {Element} element @param {Record<string, string | number | null>} values */
export function setAll(element, values) {
  for (const [name, value] of Object.entries(values)) set(element, name, value);
}

/** An element of a drawing. @param {string} tag @param {Record<string, string | number | null>} [attributes] */
export function drawing(tag, attributes = {}) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  setAll(element, attributes);
  return element;
}

/** @param {Element} element @param {string} content */
export function say(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/** @template {Element} [T=HTMLElement] @param {ParentNode} root @param {string} selector @returns {T} */
export const find = (root, selector) => /** @type {T} */ (/** @type {unknown} */ (root.querySelector(selector)));

/** Yields, so that the browser can paint and handle input. */
export const breathe = () => /** @type {any} */ (globalThis).scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));

/** Lets the browser paint what there is, so that no frame lays out a whole long drawing. Out of sight nothing is painted. */
export const painted = () => (document.hidden ? breathe() : new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, 100);
}));

/** The component shows an answer. @param {HTMLElement} section */
export function recover(section) {
  set(section, 'data-state', 'ready');
  section.removeAttribute('data-kept');
  section.querySelector(':scope > .failure')?.remove();
}

/** @type {WeakMap<HTMLElement, () => void>} */
const tryAgain = new WeakMap();

/**
 * The component alone shows that it failed, and offers another try. What it says already is not read aloud once more.
 * @param {HTMLElement} section @param {string} message @param {() => void} again @param {boolean} [waits] the counts are on their way @param {boolean} [kept] what it shows answers the same question, and stays
 */
export function fail(section, message, again, waits = false, kept = false) {
  section.dataset.state = 'error';
  set(section, 'data-kept', kept ? '' : null);
  tryAgain.set(section, again);
  const told = section.querySelector(':scope > .failure');
  if (told?.firstChild?.textContent === message) return;
  told?.remove();
  section.append(h('div', { class: waits ? 'failure waits' : 'failure', role: 'alert' }, h('p', {}, message), h('button', { type: 'button', click: () => tryAgain.get(section)?.() }, text.tryAgain)));
}
