/** Makes and changes elements. What is equal already is left alone, so that nothing moves under a hand or a reader. */

/** @template {HTMLElement} [T=HTMLElement] @param {string} selector @returns {T} */
export const find = (selector) => /** @type {T} */ (/** @type {unknown} */ (document.querySelector(selector)));

/** @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {Element} element @param {string} content */
export function say(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/** So many children, each made where it is missing. @param {Element} parent @param {number} count @param {() => Element} maker */
export function fit(parent, count, maker) {
  while (parent.children.length > count) parent.lastElementChild?.remove();
  while (parent.children.length < count) parent.append(maker());
  return [...parent.children];
}
